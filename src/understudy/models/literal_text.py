"""User text as token ids: the text of a special token within it is ordinary text.

`split_special_tokens` of transformers keeps special tokens from being cut out of a text. That is not enough where the
model of the tokenizer has the special token among its pieces (T5, Marian and mBART: Unigram with "</s>"), so those
texts are encoded by a copy of the tokenizer whose special pieces have other names.
"""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase


def encode_literally(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, special: bool, as_target: bool = False
) -> list[list[int]]:
    """Token ids of texts, in which only the tokenizer's template (if `special`) adds special tokens.

    A slow tokenizer encodes the text of a special token as its own library does.

    Args:
        tokenizer: the model's own.
        texts: user text.
        special: whether the template is applied.
        as_target: Marian's tokenizer has two vocabularies, and mBART's two languages; this selects that of targets.
    """
    if not texts:
        return []
    rows = _encode(tokenizer, texts, special=special, as_target=as_target)
    strings = special_strings(tokenizer)
    suspects = [index for index, text in enumerate(texts) if strings.search(text)]
    if not suspects or getattr(tokenizer, "backend_tokenizer", None) is None:
        return rows
    special_ids = set(tokenizer.all_special_ids)
    bare = _encode(tokenizer, [texts[index] for index in suspects], special=False, as_target=as_target)
    for index, row in zip(suspects, bare, strict=True):
        if special_ids.intersection(row):
            start = next(i for i in range(len(rows[index])) if rows[index][i : i + len(row)] == row)
            literal = _without_special_pieces(tokenizer).encode(texts[index], add_special_tokens=False).ids
            rows[index] = [*rows[index][:start], *literal, *rows[index][start + len(row) :]]
    return rows


@lru_cache(maxsize=8)
def special_strings(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Matches the text of every special token."""
    longest_first = sorted(filter(None, _special_pieces(tokenizer).values()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, special: bool, as_target: bool
) -> list[list[int]]:
    given = {"text_target" if as_target else "text": list(texts)}
    rows: list[list[int]] = tokenizer(
        **given, add_special_tokens=special, split_special_tokens=True, return_attention_mask=False, verbose=False
    )["input_ids"]
    return rows


def _special_pieces(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Id -> text of every special token."""
    added = {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return added | dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))


@lru_cache(maxsize=4)
def _without_special_pieces(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A copy of the tokenizer whose special pieces have names that are in no text; all ids are the same."""
    names = {piece: f"\ufdd0{number}\ufdd1" for number, piece in _special_pieces(tokenizer).items()}
    plain: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    model = plain["model"]
    for added in plain["added_tokens"]:
        added["content"] = names.get(added["content"], added["content"])
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
    else:  # Unigram: pieces with their scores
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
        model["merges"] = [pair for pair in pairs if not names.keys() & {*pair, "".join(pair)}]
    copy = Tokenizer.from_str(json.dumps(plain, ensure_ascii=False))
    copy.encode_special_tokens = True
    copy.no_truncation()
    copy.no_padding()
    return copy
