"""Reads responses that the KD4Gen code collected before: texts with their tokens and log-probabilities.

    {"train": {"text": [...], "tokens": [["a", " b"], ...], "logprobs": [[{"a": -0.1, "the": -2.3}, ...], ...]}, ...}

Each position holds the most probable tokens with their log-probabilities. The code also writes `logprobs` as the text
of such a list and evaluates it when it reads the file; this module parses such a text as a literal and runs nothing.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.api_teacher.journal import CompletionChoice
from understudy.errors import DataError
from understudy.tasks.kd4gen import read_json_object, split_records
from understudy.tasks.record import Record

UNREPORTED_LOGPROB = -9999.0
"""The log-probability of a token that is not among those listed at its position, as servers write it."""


def read_kd4gen_responses(path: Path) -> Iterator[tuple[str, CompletionChoice]]:
    """The sources of a KD4Gen file with the response to each.

    Args:
        path: a JSON object of splits, each with the lists `text`, `tokens` and `logprobs`.

    Raises:
        DataError: if the file or one of its records cannot be used.
    """
    for name, split in read_json_object(path).items():
        for record in split_records(path, name, split):
            yield _source(record), _choice(record)


def _source(record: Record) -> str:
    source = record.values.get("text")
    if not isinstance(source, str) or not source.strip():
        raise DataError(f"{record.where}: 'text' is {source!r:.60}; it must be the source of the response, a text")
    return source


def _choice(record: Record) -> CompletionChoice:
    tokens, logprobs = (_list(record, field) for field in ("tokens", "logprobs"))
    if not all(isinstance(token, str) for token in tokens):
        raise DataError(
            f"{record.where}: 'tokens' are ids of one student's vocabulary, found {tokens!r:.60}; give the file from "
            "which they were prepared, in which tokens are texts"
        )
    if len(tokens) != len(logprobs) or not all(map(_is_position, logprobs)):
        raise DataError(
            f"{record.where}: found {len(tokens)} tokens and {len(logprobs)} 'logprobs'; each token needs an object "
            "of tokens with their log-probabilities"
        )
    positions = [
        {
            "token": token,
            "logprob": top.get(token, UNREPORTED_LOGPROB),
            "top": [[other, logp] for other, logp in top.items()],
        }
        for token, top in zip(tokens, logprobs, strict=True)
    ]
    return CompletionChoice("".join(tokens), "stop", positions)


def _list(record: Record, field: str) -> Sequence[Any]:
    value = record.values.get(field)
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = None
    if not isinstance(value, list):
        raise DataError(
            f"{record.where}: {field!r} is neither a list nor the text of one; found the fields "
            f"{', '.join(record.values)}, needed are 'text', 'tokens' and 'logprobs'"
        )
    return value


def _is_position(top: object) -> bool:
    return isinstance(top, Mapping) and all(isinstance(logp, int | float) for logp in top.values())
