"""Log-probabilities of an API teacher: written next to its pool, and aligned to the student's tokens for training.

Text without log-probabilities, such as gold targets, is trained as text: its label has all of the probability.
Axes: P positions of all texts, K kept tokens.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.api_teacher.journal import iter_responses, source_key
from understudy.api_teacher.logprob_alignment import Position, StudentTokens, align_logprobs
from understudy.api_teacher.response_filter import parse_response
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError
from understudy.pool.logprob_cache import TeacherLogprobs
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.token_arrays import TokenArrays
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.records import Example

LOGPROBS = "logprobs.jsonl"


@dataclass(frozen=True)
class ResponseLogprobs:
    """The log-probabilities of one text of the pool of responses."""

    row: int
    """The text's row in the pool of responses."""
    response: str
    """The whole response, as the server sent it."""
    start: int
    """Where the text begins within the response, in characters."""
    positions: Sequence[Mapping[str, Any]]
    """As in the journal: {token, logprob, top: [[token, logprob], ...]} for each token of the response."""


@dataclass(frozen=True)
class AlignmentShares:
    """Shares of the student's target positions by how they were aligned; see `logprob_alignment.AlignmentKind`."""

    exact: float
    merged: float
    text: float


def write_response_logprobs(
    examples: Sequence[Example], journal: Path, endpoint: Endpoint, responses: PseudoTargetPool, file: Path
) -> int:
    """Writes the log-probabilities of the pool's texts as JSON lines, and returns how many texts have them.

    Args:
        examples: the inputs of the pool.
        journal: its file; only the file holds log-probabilities.
        endpoint: the filters and `per_input`, as `pool_rows` used them.
        responses: the pool that `pool_rows` of this journal became.
        file: where they are written.
    """
    first_row = dict(zip(responses.inputs, _first_rows(responses), strict=True))
    next_row = {source_key(example.source): first_row[example.id] for example in examples if example.id in first_row}
    seen: Counter[str] = Counter()
    count = 0
    with file.open("w", encoding="utf-8") as lines:
        for source, choice in iter_responses(journal):
            seen[source] += 1
            parsed = parse_response(choice, endpoint)
            if source not in next_row or parsed.rejected or seen[source] > endpoint.per_input:
                continue
            if choice.logprobs:
                record = ResponseLogprobs(next_row[source], choice.text, parsed.start, choice.logprobs)
                lines.write(json.dumps(vars(record), ensure_ascii=False) + "\n")
                count += 1
            next_row[source] += 1
    return count


def read_response_logprobs(file: Path) -> Iterator[ResponseLogprobs]:
    """The records of a file, one at a time: all of them may not fit the memory."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield ResponseLogprobs(**json.loads(line))


def match_response_logprobs(
    responses: PseudoTargetPool, pool: PseudoTargetPool, file: Path
) -> Iterator[tuple[int, ResponseLogprobs]]:
    """The records of the texts that the student is trained on, with their row in the training pool.

    Args:
        responses: the pool of all responses.
        pool: the training pool, with the student's tokens; it may lack texts, and be in another order.
        file: the records of `responses`.
    """
    rows = {(row.input_id, row.sample): number for number, row in enumerate(pool)}
    training_row = [rows.get((row.input_id, row.sample)) for row in responses]
    for record in read_response_logprobs(file):
        row = training_row[record.row]
        if row is not None:
            yield row, record


def align_response_logprobs(
    texts: TokenArrays,
    matched: Iterable[tuple[int, ResponseLogprobs]],
    into: TeacherLogprobs,
    *,
    token_bytes: StudentTokens,
    decode: Callable[[Sequence[int]], str],
    progress: ProgressCallback = NO_PROGRESS,
) -> AlignmentShares:
    """Writes log-probabilities of the student's tokens into arrays, and counts how much of the API's could be used.

    Args:
        texts: the targets as the student's tokens.
        matched: row of a text -> its record, each row at most once; texts without one get their label alone. Empty for
            texts that the API teacher did not write.
        into: arrays with the positions of all texts, single precision.
        token_bytes: the bytes of the student's tokens.
        decode: token ids of a target -> its text.
        progress: is called with the number of texts that are done.
    """
    counts: Counter[str] = Counter()

    def align_row(row: int, record: ResponseLogprobs | None) -> None:
        ids = texts[row].tolist()
        positions = positions_of(record) if record else []
        start = _start_in_tokens(record, positions) if record else 0
        kept = into.ids_PK.shape[1]
        aligned = align_logprobs(positions, ids, token_bytes, text=decode(ids).encode(), start=start, kept=kept)
        positions_P = texts.positions([row])
        into.ids_PK[positions_P] = aligned.ids_TK
        into.logp_PK[positions_P] = aligned.logp_TK
        counts.update(aligned.kinds)
        progress(1)

    remaining = set(range(len(texts)))
    for row, record in matched:  # one at a time: all of them may not fit the memory
        remaining.remove(row)
        align_row(row, record)
    for row in sorted(remaining):
        align_row(row, None)
    total = max(1, counts.total())
    return AlignmentShares(counts["exact"] / total, counts["merged"] / total, counts["text"] / total)


def refuse_missing_logprobs(texts: int, with_logprobs: int) -> None:
    """Raises if no response has log-probabilities: some servers ignore the parameters they do not support.

    Raises:
        GenerationError: with the method that needs none.
    """
    if not with_logprobs:
        raise GenerationError(
            f"distil.objective compares distributions, but 0 of {texts} texts have log-probabilities, though they "
            "were requested (top_logprobs); use method extreme_fine_tune: the texts are kept"
        )


def positions_of(record: ResponseLogprobs) -> list[Position]:
    """The tokens of a response as bytes."""
    return [
        Position(
            as_bytes(position["token"]),
            float(position["logprob"]),
            tuple((as_bytes(token), float(logprob)) for token, logprob in position["top"]),
        )
        for position in record.positions
    ]


def as_bytes(token: str | list[int]) -> bytes:
    """The bytes of a token as the journal stores it: as text if the text spells all of it, else as a list of bytes."""
    return token.encode() if isinstance(token, str) else bytes(token)


def _start_in_tokens(record: ResponseLogprobs, positions: Sequence[Position]) -> int:
    """Where the text begins within the tokens, in bytes; some servers list more tokens than the response holds."""
    written = b"".join(position.token for position in positions)
    begin = max(0, written.find(record.response.encode()))
    return begin + len(record.response[: record.start].encode())


def _first_rows(pool: PseudoTargetPool) -> list[int]:
    """The first row of each input."""
    return [0, *pool.per_input.cumsum().tolist()][:-1]
