"""A tokenizer as the fields of a GGUF file: byte-level BPE (`gpt2`), or BPE with bytes as a last resort (`llama`).

llama.cpp knows how byte-level tokenizers divide texts by name only, so an unknown division is refused.
"""

import json
from typing import Any

from transformers import PreTrainedTokenizerBase

from understudy.errors import GenerationError

_GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DIVISIONS = {
    _GPT_2: "gpt-2",
    _LLAMA_3: "llama-bpe",
    _LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}"): "qwen2",
    f"digits {_GPT_2}": "smollm",
}
"""Expression that divides a text into words, after `digits` if each digit is one -> llama.cpp's name for it."""
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Types of tokens in GGUF files."""
_SPACE = "▁"
_BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))


def tokenizer_fields(tokenizer: PreTrainedTokenizerBase) -> dict[str, object]:
    """The fields `tokenizer.ggml.*` without that prefix: kind, division, tokens, their types, and merges or scores.

    Raises:
        GenerationError: if llama.cpp has no such tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    plain: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {"model": {"type": "slow"}}
    model = plain["model"]
    if model["type"] != "BPE":
        raise _refused(f"a {model['type']} tokenizer (byte-level BPE and BPE with byte fallback can be written)")
    tokens, types = _tokens(tokenizer, plain)
    pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
    shared = {"tokens": tokens, "token_type": types, "add_bos_token": False, "add_eos_token": False}
    if any(part["type"] == "ByteLevel" for part in _parts(plain["pre_tokenizer"], "pretokenizers")):
        return {
            "model": "gpt2",
            "pre": _division(plain),
            "merges": [" ".join(pair) for pair in pairs],
            "add_space_prefix": False,
            **shared,
        }
    if not model.get("byte_fallback") or len(_BYTES.intersection(tokens)) < len(_BYTES):
        raise _refused("a BPE tokenizer that is neither byte-level nor has a token for every byte")
    # llama.cpp merges the pair whose result has the highest score first; the library, the first pair in its list.
    ranks: dict[str, int] = {}
    for rank, pair in enumerate(pairs):
        ranks.setdefault("".join(pair), rank)
    lowest = float(-len(pairs) - 1)
    scores = [-float(ranks[token]) if token in ranks else lowest for token in tokens]
    return {"model": "llama", "scores": scores, "add_space_prefix": _prefixes_space(plain), **shared}


def _tokens(tokenizer: PreTrainedTokenizerBase, plain: dict[str, Any]) -> tuple[list[str], list[int]]:
    """Tokens by id and their types; an id without a token gets a name that no text has."""
    vocabulary = tokenizer.get_vocab()
    rows = max(vocabulary.values()) + 1
    tokens, types = [f"[PAD{row}]" for row in range(rows)], [UNUSED] * rows
    fallback = bool(plain["model"].get("byte_fallback"))
    for token, row in vocabulary.items():
        tokens[row], types[row] = token, BYTE if fallback and token in _BYTES else NORMAL
    for added in plain["added_tokens"]:
        if types[added["id"]] != BYTE:
            types[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    for row in tokenizer.all_special_ids:
        types[row] = CONTROL
    unknown = plain["model"].get("unk_token")
    if fallback and unknown in vocabulary:
        types[vocabulary[unknown]] = UNKNOWN
    return tokens, types


def _division(plain: dict[str, Any]) -> str:
    """llama.cpp's name of how a byte-level tokenizer divides texts."""
    if any(part["type"] != "NFC" for part in _parts(plain["normalizer"], "normalizers")):
        raise _refused(f"a byte-level tokenizer with the normalizer {plain['normalizer']['type']}")
    described = []
    for part in _parts(plain["pre_tokenizer"], "pretokenizers"):
        match part:
            case {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}:
                described.append(pattern)
            case {"type": "Digits", "individual_digits": True}:
                described.append("digits")
            case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
                described.append(_GPT_2)
            case {"type": "ByteLevel", "add_prefix_space": False}:
                pass
            case _:
                described.append(part["type"])
    name = DIVISIONS.get(" ".join(described))
    if name is None:
        raise _refused(f"a byte-level tokenizer that divides texts by {' '.join(described)[:80]!r}")
    return name


def _prefixes_space(plain: dict[str, Any]) -> bool:
    """Whether a space is put before a text; a tokenizer of another form is refused."""
    normalizers = _parts(plain["normalizer"], "normalizers")
    before = _parts(plain["pre_tokenizer"], "pretokenizers")
    replaces = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    match normalizers, before:
        case [{"type": "Prepend", "prepend": "▁"}, last], [] if last == replaces:
            return True
        case [only], [] if only == replaces:
            return False
        case [only], [{"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious"}] if (
            only == replaces
        ):
            return False
        case [], [{"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}]:
            return bool(scheme != "never")
        case _:
            raise _refused("a BPE tokenizer with byte fallback that treats spaces in another way than Llama and Gemma")


def _parts(step: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """The parts of a step of a tokenizer, which may be a sequence."""
    if step is None:
        return []
    return list(step[name]) if step["type"] == "Sequence" else [step]


def _refused(what: str) -> GenerationError:
    return GenerationError(
        f"format gguf was requested, but llama.cpp cannot have {what} as it is; use format hf or ct2"
    )
