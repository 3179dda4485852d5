"""A chat template whose one user message is a source, for the programs that run a delivered decoder-only model.

The template adds all that this package puts around a source: the system turn, the prompt, the start and the separator.
"""

import json

from understudy.errors import ModelError
from understudy.models.task_tokenizer import TaskTokenizer
from understudy.models.text import encode_sources, plain_text, source_format

_SOURCE = "messages[-1]['content']"
_PROBE = "a"


def whole_prompt(reader: TaskTokenizer) -> str:
    """The prompt of a model without a chat template, with the system text in front; `{source}` stands for the input."""
    return reader.prompt if reader.system is None else plain_text([("system", reader.system)], reader.prompt)


def source_template(reader: TaskTokenizer) -> str:
    """The chat template of a decoder-only model that makes its input from a source as the only user message.

    Raises:
        ModelError: if the model reads demonstrations, which change from source to source.
    """
    if reader.demonstrations:
        raise ModelError(
            "the model reads demonstrations, which are others for each source, and a chat template cannot express that"
        )
    tokenizer = reader.tokenizer
    if source_format(tokenizer) == "chat":
        own = str(tokenizer.get_chat_template())
        if reader.system is None and reader.prompt == "{source}":
            return own
        turns = [f"{{'role': 'user', 'content': {_filled(reader.prompt)}}}"]
        if reader.system is not None:
            turns.insert(0, f"{{'role': 'system', 'content': {_literal(reader.system)}}}")
        return f"{{% set messages = [{', '.join(turns)}] %}}{own}"
    (row,) = encode_sources(tokenizer, [_PROBE], is_encoder_decoder=False)
    bare = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    start = next(i for i in range(len(row)) if row[i : i + len(bare)] == bare)
    before, after = ("".join(tokenizer.convert_ids_to_tokens(ids)) for ids in (row[:start], row[start + len(bare) :]))
    return "{{ " + _filled(before + whole_prompt(reader) + after) + " }}"


def _filled(prompt: str) -> str:
    """A Jinja expression: the prompt with the source in its place."""
    return f" + {_SOURCE} + ".join(map(_literal, prompt.split("{source}")))


def _literal(text: str) -> str:
    """A text as a Jinja string, which has the escapes of JSON."""
    return json.dumps(text, ensure_ascii=False)
