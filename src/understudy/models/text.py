"""Encoding and decoding: texts to token ids of sources and targets, and token ids to text.

An encoder-decoder's source and target carry the special tokens its family was trained with (BART
starts both with its bos, T5 and our own tokenizer do not). The input of a decoder-only model is one row:

    [bos, if the family starts with it]  source  separator  target  eos

The separator marks the start of the target, as an encoder-decoder's start token does.
"""

from collections.abc import Iterable, Sequence

from transformers import PreTrainedTokenizerBase

from understudy.errors import ModelError


def encode_sources(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    is_encoder_decoder: bool,
) -> list[list[int]]:
    """Token ids of each source, special tokens included.

    Args:
        tokenizer: the model's own.
        texts: the sources, prompt applied.
        is_encoder_decoder: kind of the model.

    Raises:
        ModelError: if a decoder-only model's tokenizer has no token to separate source and target.
    """
    if is_encoder_decoder:
        return _encode(tokenizer, texts, special=True)
    prefix, separator = _leading_bos(tokenizer), _separator(tokenizer)
    return [[*prefix, *row, separator] for row in _encode(tokenizer, texts, special=False)]


def encode_targets(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    is_encoder_decoder: bool,
) -> list[list[int]]:
    """Token ids of each target: no start token, the end-of-sequence id last.

    Arguments and errors are those of `encode_sources`.
    """
    end = _end(tokenizer)
    return [
        row if row and row[-1] == end else [*row, end]
        for row in _encode(tokenizer, texts, special=is_encoder_decoder, as_target=True)
    ]


def decode(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """The text of these ids without special tokens; spaces are not cleaned up."""
    text: str = tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def too_long(rows: Iterable[Sequence[int]], *, max_tokens: int) -> list[int]:
    """Indices of the rows with more than `max_tokens` token ids."""
    return [index for index, row in enumerate(rows) if len(row) > max_tokens]


def _encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, special: bool, as_target: bool = False
) -> list[list[int]]:
    if not texts:
        return []
    # Marian's tokenizer has two vocabularies; the argument's name selects the one of targets.
    given = {"text_target" if as_target else "text": list(texts)}
    rows: list[list[int]] = tokenizer(**given, add_special_tokens=special, return_attention_mask=False, verbose=False)[
        "input_ids"
    ]
    return rows


def _leading_bos(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The bos token, if the family starts every text with it (Llama, OPT)."""
    start = tokenizer.bos_token_id
    first = tokenizer("a")["input_ids"][0]
    return [start] if start is not None and first == start else []


def _separator(tokenizer: PreTrainedTokenizerBase) -> int:
    for token_id in (tokenizer.sep_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token_id is not None:
            return int(token_id)
    raise ModelError(
        "a decoder-only model needs a token between source and target, but its tokenizer has no sep, bos or "
        "eos token; set tokenizer.sep_token"
    )


def _end(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "a target ends with the end-of-sequence token, but the tokenizer has none; set tokenizer.eos_token"
        )
    return int(tokenizer.eos_token_id)
