"""What makes a checkpoint unusable, and what a tokenizer changes, without weights."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers as tf
from tests.models.special_tokenizers import byte_level, unigram
from tests.sizes import small
from transformers import Gemma3Config, PreTrainedTokenizerBase

from understudy.config.model_sections import Architecture
from understudy.errors import ModelError
from understudy.models.checkpoint import save_network
from understudy.models.checkpoint_checks import RoundTrip, refuse_unusable_checkpoint, round_trip
from understudy.models.scratch import build_network
from understudy.models.task_tokenizer import TaskTokenizer, choose_source_format
from understudy.models.text import set_source_format


def change(file: Path, **fields: object) -> None:
    """Sets fields of a JSON file; None removes one."""
    plain = json.loads(file.read_text("utf-8")) if file.exists() else {}
    file.write_text(json.dumps({k: v for k, v in (plain | fields).items() if v is not None}), "utf-8")


def quantise(method: str, **settings: object) -> Callable[[Path], None]:
    """As a library for quantisation does."""
    return lambda folder: change(folder / "config.json", quantization_config={"quant_method": method, **settings})


def adapt(folder: Path) -> None:
    """An adapter in the folder of the weights."""
    change(folder / "adapter_config.json", peft_type="LORA", base_model_name_or_path="the/base")


def adapter_alone(folder: Path) -> None:
    """An adapter without its base."""
    adapt(folder)
    (folder / "config.json").unlink()


def pickle(folder: Path) -> None:
    """Only the old file format."""
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def add_a_token(folder: Path) -> None:
    """A pad token that the model does not know."""
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)


def forget_the_end(folder: Path) -> None:
    """No end-of-sequence token."""
    change(folder / "tokenizer_config.json", eos_token=None)


def forget_the_start(folder: Path) -> None:
    """As mbart-large-cc25."""
    plain = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(plain | {"decoder_start_token_id": None}), "utf-8")
    change(folder / "generation_config.json", decoder_start_token_id=None)


def need_sentencepiece(folder: Path) -> None:
    """As opus-mt: a SentencePiece model, and no tokenizer.json."""
    (folder / "tokenizer.json").unlink()
    change(folder / "tokenizer_config.json", tokenizer_class="MarianTokenizer")
    (folder / "vocab.json").write_text("{}")
    for side in ("source", "target"):
        (folder / f"{side}.spm").write_bytes(b"\n")


def configure(**fields: object) -> Callable[[Path], None]:
    """Other values in the config."""
    return lambda folder: change(folder / "config.json", **fields)


def rewrite(file: str, text: str) -> Callable[[Path], None]:
    """Another text in a file."""

    def damage(folder: Path) -> None:
        (folder / file).write_text(text, "utf-8")

    return damage


UNUSABLE: dict[str, tuple[Architecture, Callable[[Path], None], str]] = {
    "bitsandbytes": ("gpt2", quantise("bitsandbytes", load_in_4bit=True), r"bitsandbytes.*model\.dequantize\(\)"),
    "fp8": ("gpt2", quantise("fp8", weight_block_size=[128, 128]), r"'fp8'.*FineGrainedFP8Config\(dequantize=True\)"),
    "mxfp4": ("gpt2", quantise("mxfp4"), r"'mxfp4'.*Mxfp4Config\(dequantize=True\)"),
    "compressed": ("gpt2", quantise("compressed-tensors"), r"CompressedTensorsConfig\(dequantize=True\)"),
    "gptq": ("gpt2", quantise("gptq", bits=4), r"'gptq'.*use the checkpoint from which it was made$"),
    "awq": ("gpt2", quantise("awq", bits=4), r"'awq'.*use the checkpoint from which it was made$"),
    "adapter with weights": ("gpt2", adapt, r"adapter.*the/base.*merge_and_unload"),
    "adapter alone": ("gpt2", adapter_alone, r"adapter.*the/base.*merge_and_unload"),
    "pickled": ("gpt2", pickle, r"pickled.*model\.safetensors"),
    "more tokens than embeddings": ("gpt2", add_a_token, r"'\[PAD\]' \(id \d+\) has none.*resize_token_embeddings"),
    "no end": ("gpt2", forget_the_end, r"no end-of-sequence token.*eos_token"),
    "no start": ("bart", forget_the_start, r"decoder_start_token_id"),
    "quantised by a list": ("gpt2", configure(quantization_config=[4]), r"cannot load a model.*config\.json"),
    "text as a size": ("llama", configure(hidden_size="x"), r"cannot load a model.*hidden_size"),
    "no heads": ("llama", configure(num_attention_heads=0), r"config"),
    "pad beyond the embeddings": ("llama", configure(vocab_size=10, pad_token_id=20), r"cannot build a 'llama' model"),
    "settings of a list": ("gpt2", rewrite("tokenizer_config.json", "[]"), r"cannot load a tokenizer"),
    "format cut off": ("gpt2", rewrite("generation_config.json", "{"), r"cannot read generation_config\.json"),
    "format of a list": ("gpt2", rewrite("generation_config.json", "[]"), r"cannot read generation_config\.json"),
    "text as an end": ("gpt2", rewrite("generation_config.json", '{"eos_token_id": "x"}'), r"eos_token_id 'x'.*no id"),
    "unknown end": ("gpt2", rewrite("generation_config.json", '{"eos_token_id": [2, 99999]}'), r"eos_token_id 99999"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_checkpoint_is_one_sentence(case: str, tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """With the way out, and before any weights are read; without the fault it passes."""
    architecture, damage, message = UNUSABLE[case]
    save_network(build_network(small(architecture), tokenizer, max_positions=16, seed=0), tokenizer, tmp_path)
    refuse_unusable_checkpoint(str(tmp_path))
    damage(tmp_path)

    with pytest.raises(ModelError, match=message):
        refuse_unusable_checkpoint(str(tmp_path))


def test_an_adapter_on_the_hub_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transformers would load it with its base where peft is installed; here the hub is a folder of its cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--the--adapter"
    (cached / "snapshots" / "0a").mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0a")
    change(cached / "snapshots" / "0a" / "config.json", model_type="gpt2")
    adapt(cached / "snapshots" / "0a")

    with pytest.raises(ModelError, match=r"'the/adapter' holds an adapter.*the/base.*merge_and_unload"):
        refuse_unusable_checkpoint("the/adapter")


@pytest.mark.skipif(tf.utils.is_sentencepiece_available(), reason="sentencepiece is installed")
def test_a_missing_sentencepiece_is_named(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Not tiktoken, for which transformers takes such a file."""
    save_network(build_network(small("bart"), tokenizer, max_positions=16, seed=0), tokenizer, tmp_path)
    need_sentencepiece(tmp_path)

    with pytest.raises(ModelError, match="pip install sentencepiece"):
        refuse_unusable_checkpoint(str(tmp_path))


def test_a_tokenizer_without_braces_changes_targets() -> None:
    """All texts with a brace or a line break are counted, and the first is shown with what becomes of it."""
    own = TaskTokenizer(unigram(), True, "{source}", 64, 64)
    texts = ["the lamp", '{"name": "red"}', "a\nb", "the 2"]

    assert round_trip(own, texts) == RoundTrip(4, 2, '{"name": "red"}', ":name: red".replace(":", "", 1))


def test_another_normal_form_is_no_change() -> None:
    """NFD data survive our own tokenizer, which writes NFC: metrics compare in NFC."""
    own = TaskTokenizer(byte_level(), False, "{source}", 64, 64)

    assert round_trip(own, ["cafe\u0301", "  two  spaces"]) == RoundTrip(2, 0)


def test_of_many_targets_some_are_checked() -> None:
    """Evenly spaced ones, at most as many as were asked for."""
    own = TaskTokenizer(byte_level(), False, "{source}", 64, 64)

    assert round_trip(own, ["a"] * 10, most=4).checked == 4
    assert round_trip(own, ["a"] * 10, most=10).checked == 10


def test_auto_follows_the_checkpoint_and_its_use(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """What was saved; else a chat template; else a separator for a model that is trained, nothing for others."""
    model = build_network(small("gpt2"), tokenizer, max_positions=16, seed=0)
    save_network(model, tokenizer, tmp_path)
    place = str(tmp_path)

    assert choose_source_format(place, "auto", trained=True) == "separator"
    assert choose_source_format(place, "auto", trained=False) == "none"
    change(tmp_path / "tokenizer_config.json", chat_template="{{ messages[0].content }}")
    assert choose_source_format(place, "auto", trained=False) == "chat"
    assert choose_source_format(place, "separator", trained=False) == "separator"
    saved = tf.AutoTokenizer.from_pretrained(place)
    set_source_format(saved, "separator")
    saved.save_pretrained(place)
    assert choose_source_format(place, "auto", trained=False) == "separator"


def test_an_encoder_decoder_has_no_template(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """It reads the source apart from the target."""
    save_network(build_network(small("bart"), tokenizer, max_positions=16, seed=0), tokenizer, tmp_path)

    assert choose_source_format(str(tmp_path), "auto", trained=False) is None
    with pytest.raises(ModelError, match=r"template is 'chat'.*encoder-decoder"):
        choose_source_format(str(tmp_path), "chat", trained=False)


def test_a_model_that_also_reads_images_is_refused(tmp_path: Path) -> None:
    """The message says what it reads and what to save instead; its text config alone is another model."""
    config = Gemma3Config(text_config={"vocab_size": 60, "hidden_size": 8}, vision_config={"hidden_size": 8})
    config.save_pretrained(tmp_path)

    with pytest.raises(ModelError, match=r"a model of text and vision \(gemma3\).*load its text model"):
        refuse_unusable_checkpoint(str(tmp_path))
