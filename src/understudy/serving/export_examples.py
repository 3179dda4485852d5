"""The example program of an export: ten lines that print the text for a source."""

_HEAD = '''"""Prints the text for a source: python example.py "a source"."""

import json
import sys
from pathlib import Path

'''
_SOURCE = """source = sys.argv[1] if len(sys.argv) == 2 else sys.exit('usage: python example.py "a source"')
"""
_PROMPTED = 'prompt = json.loads((folder / "prompt.json").read_text(encoding="utf-8"))["prompt"]\n'
_TURNS = '[{"role": "user", "content": source}]'

_HF_ENCODER_DECODER = (
    _HEAD
    + """from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

"""
    + _SOURCE
    + """folder = Path(__file__).parent
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSeq2SeqLM.from_pretrained(folder)
"""
    + _PROMPTED
    + """ids = tokenizer(prompt.replace("{source}", source), return_tensors="pt").input_ids
text = model.generate(ids)[0]
print(tokenizer.decode(text, skip_special_tokens=True).strip())
"""
)
_HF_DECODER = (
    _HEAD.replace("import json\n", "")
    + f"""from transformers import AutoModelForCausalLM, AutoTokenizer

{_SOURCE}folder = Path(__file__).parent
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
turns = {_TURNS}
ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")
text = model.generate(**ids)[0, ids["input_ids"].shape[1] :]
print(tokenizer.decode(text, skip_special_tokens=True).strip())
"""
)
_CT2_ENCODER_DECODER = (
    _HEAD
    + """import ctranslate2
from transformers import AutoTokenizer

"""
    + _SOURCE
    + """folder = Path(__file__).parent
tokenizer = AutoTokenizer.from_pretrained(folder)
options = json.loads((folder / "generation_options.json").read_text(encoding="utf-8"))
"""
    + _PROMPTED
    + """tokens = tokenizer.convert_ids_to_tokens(tokenizer(prompt.replace("{source}", source)).input_ids)
text = ctranslate2.Translator(str(folder)).translate_batch([tokens], **options)[0].hypotheses[0]
print(tokenizer.decode(tokenizer.convert_tokens_to_ids(text), skip_special_tokens=True).strip())
"""
)
_CT2_DECODER = (
    _HEAD
    + f"""import ctranslate2
from transformers import AutoTokenizer

{_SOURCE}folder = Path(__file__).parent
tokenizer = AutoTokenizer.from_pretrained(folder)
options = json.loads((folder / "generation_options.json").read_text(encoding="utf-8"))
turns = {_TURNS}
ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
found = ctranslate2.Generator(str(folder)).generate_batch([tokenizer.convert_ids_to_tokens(ids)], **options)
print(tokenizer.decode(found[0].sequences_ids[0], skip_special_tokens=True).strip())
"""
)

_GGUF = (
    _HEAD.replace('source".""', 'source"; needs xllamacpp.""')
    + f"""from urllib.request import Request, urlopen

import xllamacpp

{_SOURCE}folder, parameters = Path(__file__).parent, xllamacpp.CommonParams()
limits = json.loads((folder / "prompt.json").read_text(encoding="utf-8"))
options = json.loads((folder / "generation_options.json").read_text(encoding="utf-8"))
parameters.model.path, parameters.n_parallel, parameters.port = str(folder / "model.gguf"), 1, 0
parameters.n_ctx = limits["max_source_tokens"] + limits["max_target_tokens"] + 64
server = xllamacpp.Server(parameters)
body = json.dumps({{"messages": {_TURNS}, **options}}).encode()
request = Request(server.listening_address + "/v1/chat/completions", body, {{"Content-Type": "application/json"}})
print(json.load(urlopen(request))["choices"][0]["message"]["content"].strip())
"""
).replace("from pathlib import Path\n\nfrom urllib", "from pathlib import Path\nfrom urllib")

_EXAMPLES = {
    ("hf", True): _HF_ENCODER_DECODER,
    ("hf", False): _HF_DECODER,
    ("ct2", True): _CT2_ENCODER_DECODER,
    ("ct2", False): _CT2_DECODER,
    ("gguf", False): _GGUF,
}
"""Format and whether the model is an encoder-decoder -> its program."""


def example_of(name: str, *, is_encoder_decoder: bool) -> str:
    """The program for a format and a kind of model."""
    return _EXAMPLES[name, is_encoder_decoder]
