"""Encoding and decoding: texts to token ids of sources and targets, and token ids to text.

An encoder-decoder's source and target carry the special tokens its family was trained with (BART
starts both with its bos, T5 and our own tokenizer do not). The input of a decoder-only model is one row, in the
tokenizer's source format:

    separator   [bos, if the family starts with it]  source  separator  target  eos
    none        [bos, if the family starts with it]  source  target  eos
    chat        the tokenizer's chat template with the source as the user's message  target  end of the turn

The separator marks the start of the target, as an encoder-decoder's start token does. The format is saved with the
tokenizer; what the prompt is belongs to the task (`task_tokenizer`). Only templates produce special tokens: the text of
one within a source or a target is ordinary text (`literal_text`).
"""

from collections.abc import Sequence
from typing import get_args

from transformers import PreTrainedTokenizerBase

from understudy.config.model_sections import SourceFormat
from understudy.errors import ModelError
from understudy.models.chat import Turns, chat_rows, end_of_answer, fix_template
from understudy.models.literal_text import encode_literally

BLANK_LINE = "\n\n"
"""What separates demonstrations in plain text."""
_FORMAT = "source_format"
"""Key of the format in `tokenizer_config.json`."""


def source_format(tokenizer: PreTrainedTokenizerBase) -> SourceFormat:
    """The format in which a decoder-only model with this tokenizer reads a source."""
    return saved_source_format(tokenizer) or "separator"


def saved_source_format(tokenizer: PreTrainedTokenizerBase) -> SourceFormat | None:
    """The format that was saved with a tokenizer; None for one that this package did not save.

    Raises:
        ModelError: if it is not one of the formats.
    """
    own: SourceFormat | None = tokenizer.init_kwargs.get(_FORMAT)
    if own not in {None, *get_args(SourceFormat)}:
        raise ModelError(
            f"tokenizer_config.json says {_FORMAT} {own!r}, which is not one of {', '.join(get_args(SourceFormat))}"
        )
    return own


def set_source_format(tokenizer: PreTrainedTokenizerBase, chosen: SourceFormat) -> None:
    """Choose the format of a tokenizer; saving the tokenizer saves it.

    In a chat, a text ends with the token with which the template ends an answer (`<|im_end|>`, `<end_of_turn>`), which
    is not the end-of-sequence token of every tokenizer; it becomes that of this one.

    Raises:
        ModelError: for `chat` if the tokenizer has no chat template.
    """
    if chosen == "chat" and not tokenizer.chat_template:
        raise ModelError(
            "template is 'chat', but the tokenizer of the model has no chat template; set template: none or separator, "
            "or save a chat template with the tokenizer"
        )
    if chosen == "chat":
        fix_template(tokenizer)
        if end := end_of_answer(tokenizer):
            tokenizer.eos_token = end
    tokenizer.init_kwargs[_FORMAT] = chosen


def encode_sources(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    is_encoder_decoder: bool,
    turns: Sequence[Turns] | None = None,
) -> list[list[int]]:
    """Token ids of each source, special tokens included.

    Args:
        tokenizer: the model's own.
        texts: the sources, prompt applied.
        is_encoder_decoder: kind of the model.
        turns: what comes before each source: a system turn, and demonstrations as turns of user and assistant; None:
            nothing. Without a chat template they are text before the source (`plain_text`).

    Raises:
        ModelError: if a decoder-only model's tokenizer has no token to separate source and target, or its chat
            template cannot render a user's message.
    """
    chosen = None if is_encoder_decoder else source_format(tokenizer)
    if chosen == "chat":
        before = turns or [()] * len(texts)
        return chat_rows(tokenizer, [[*own, ("user", text)] for own, text in zip(before, texts, strict=True)])
    if turns:
        texts = [plain_text(own, text) for own, text in zip(turns, texts, strict=True)]
    if is_encoder_decoder:
        return encode_literally(tokenizer, texts, special=True)
    prefix, separator = _leading_bos(tokenizer), [_separator(tokenizer)] if chosen == "separator" else []
    return [[*prefix, *row, *separator] for row in encode_literally(tokenizer, texts, special=False)]


def plain_text(turns: Turns, source: str) -> str:
    """A source after a system turn and demonstrations, for a model without a chat template.

    The system turn is followed by a blank line, and so is each demonstration: its source, a line break, its target. The
    source is then followed by a line break too, after which the model continues with a target.
    """
    ends = {"system": BLANK_LINE, "user": "\n", "assistant": BLANK_LINE}
    before = "".join(text + ends[role] for role, text in turns)
    return before + source + ("\n" if any(role == "assistant" for role, _ in turns) else "")


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
    rows = encode_literally(tokenizer, texts, special=is_encoder_decoder, as_target=True)
    _, suffix = target_frame(tokenizer) if is_encoder_decoder else ([], [])
    if end not in suffix:
        return [[*row, end] for row in rows]
    # mBART's template puts the language after the end, where its decoder starts with it.
    beyond = len(suffix) - suffix.index(end) - 1
    return [row[: len(row) - beyond] for row in rows]


def target_frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special tokens that an encoder-decoder's tokenizer puts before and after a target."""
    (framed,) = encode_literally(tokenizer, ["a"], special=True, as_target=True)
    (bare,) = encode_literally(tokenizer, ["a"], special=False, as_target=True)
    start = next((i for i in range(len(framed)) if framed[i : i + len(bare)] == bare), 0)
    return framed[:start], framed[start + len(bare) :]


def decode(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """The text of these ids without special tokens; spaces are not cleaned up."""
    text: str = tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


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
