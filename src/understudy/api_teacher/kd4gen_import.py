"""Answers that were bought before, by the KD4Gen code: texts with their tokens and log-probabilities.

    {"train": {"text": [...], "tokens": [["a", " b"], ...], "logprobs": [[{"a": -0.1, "the": -2.3}, ...], ...]}, ...}

A position holds the most probable tokens with their log-probabilities. The code also writes `logprobs` as the text of
such a list, and runs what it reads; here a text is parsed as a literal, and nothing else.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.api_teacher.journal import Choice
from understudy.errors import DataError
from understudy.tasks.file_formats import Record
from understudy.tasks.kd4gen import columns, parsed

TOLD_NOWHERE = -9999.0
"""What stands for the log-probability of a token that is not among those of its position, as servers write it."""


def recorded(path: Path) -> Iterator[tuple[str, Choice]]:
    """The sources of a file with what was answered to each.

    Args:
        path: a JSON object of splits, each with the lists `text`, `tokens` and `logprobs`.

    Raises:
        DataError: if the file or one of its records cannot be used.
    """
    for name, split in parsed(path).items():
        for record in columns(path, name, split):
            yield _text(record), _choice(record)


def _text(record: Record) -> str:
    source = record.values.get("text")
    if not isinstance(source, str) or not source.strip():
        raise DataError(f"{record.where}: 'text' is {source!r:.60}; it must be the source that was answered")
    return source


def _choice(record: Record) -> Choice:
    tokens, told = (_list(record, field) for field in ("tokens", "logprobs"))
    if not all(isinstance(token, str) for token in tokens):
        raise DataError(
            f"{record.where}: 'tokens' are numbers of one student's vocabulary, as they were prepared for it; give the "
            "file they were prepared from, whose tokens are texts"
        )
    if len(tokens) != len(told) or not all(map(_is_position, told)):
        raise DataError(
            f"{record.where}: {len(tokens)} tokens and {len(told)} 'logprobs'; for each token there must be an "
            "object of tokens with their log-probabilities"
        )
    positions = [
        {"token": token, "logprob": top.get(token, TOLD_NOWHERE), "top": [[other, logp] for other, logp in top.items()]}
        for token, top in zip(tokens, told, strict=True)
    ]
    return Choice("".join(tokens), "stop", positions)


def _list(record: Record, field: str) -> Sequence[Any]:
    value = record.values.get(field)
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = None
    if not isinstance(value, list):
        raise DataError(
            f"{record.where}: {field!r} is no list, nor the text of one; found the fields "
            f"{', '.join(record.values)}, and 'text', 'tokens' and 'logprobs' are needed"
        )
    return value


def _is_position(top: object) -> bool:
    return isinstance(top, Mapping) and all(isinstance(logp, int | float) for logp in top.values())
