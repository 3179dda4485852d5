"""The teacher signal of an endpoint: its log-probabilities, told of the student's tokens.

What it did not tell, gold text for one, is learned as text: the label has all of the mass.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.api_teacher.journal import answered, source_key
from understudy.api_teacher.logprob_alignment import Position, aligned
from understudy.api_teacher.response_filter import parse_response
from understudy.config.endpoint import Endpoint
from understudy.models.token_bytes import TokenBytes
from understudy.pipeline.readers import Reader
from understudy.pool.logprob_cache import LogprobCacheFile
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.token_arrays import TokenArrays
from understudy.records import Example
from understudy.store import Finished

LOGPROBS = "logprobs.jsonl"


@dataclass(frozen=True)
class Told:
    """What the endpoint told of a text while it wrote it."""

    row: int
    """Of the texts that were bought."""
    answer: str
    """Whole, as the endpoint gave it."""
    start: int
    """Where the text begins within the answer, in characters."""
    positions: Sequence[Mapping[str, Any]]


def write_told(examples: Sequence[Example], journal: Path, endpoint: Endpoint, folder: Path) -> int:
    """For every text of the pool with log-probabilities, what the endpoint told of it; how many there are."""
    rows = PseudoTargetPool.open(folder)
    first = dict(zip(rows.inputs, _starts(rows), strict=True))
    next_row = {source_key(example.source): first[example.id] for example in examples if example.id in first}
    seen: Counter[str] = Counter()
    count = 0
    with (folder / LOGPROBS).open("w", encoding="utf-8") as file:
        for source, choice in answered(journal):
            seen[source] += 1
            verdict = parse_response(choice, endpoint)
            if source not in next_row or verdict.rejected or seen[source] > endpoint.per_input:
                continue
            if choice.logprobs:
                line = Told(next_row[source], choice.text, verdict.start, choice.logprobs)
                file.write(json.dumps(vars(line), ensure_ascii=False) + "\n")
                count += 1
            next_row[source] += 1
    return count


def _starts(pool: PseudoTargetPool) -> list[int]:
    """The first row of each input."""
    return [0, *pool.per_input.cumsum().tolist()][:-1]


def align_told(
    texts: TokenArrays, reader: Reader, inputs: Mapping[str, Finished], file: LogprobCacheFile, *, tells: bool
) -> Mapping[str, object]:
    """Writes what an endpoint told of texts, and counts how much of it could be used.

    Args:
        texts: as the student's tokens; where the endpoint wrote them, the rows of the pool in its order.
        reader: of the student.
        inputs: the stages `bought` and `pool`.
        file: the signal to write.
        tells: whether the endpoint wrote these texts; of others it says nothing.

    Returns:
        The shares of positions that are exact, merged and text alone.
    """
    token_bytes, kept = TokenBytes(reader.tokenizer), file.logprobs.ids_PK.shape[1]
    silent = set(range(len(texts)))
    counts: Counter[str] = Counter()

    def spoken() -> Iterator[tuple[int, Told | None]]:
        if tells:
            for row, line in _told_of_rows(inputs):
                silent.remove(row)
                yield row, line
        yield from ((row, None) for row in sorted(silent))

    for row, line in spoken():  # one at a time: all of them may be larger than the memory
        ids = texts[row].tolist()
        positions = positions_of(line) if line else []
        start = _start(line, positions) if line else 0
        found = aligned(positions, ids, token_bytes, text=reader.text(ids).encode(), start=start, kept=kept)
        places = texts.positions([row])
        file.logprobs.ids_PK[places] = found.ids_TK
        file.logprobs.logp_PK[places] = found.logp_TK
        counts.update(found.how)
    file.commit(len(texts))
    return {how: counts[how] / max(1, counts.total()) for how in ("exact", "merged", "text")}


def positions_of(line: Told) -> list[Position]:
    """The tokens of an answer as bytes."""
    return [
        Position(
            as_bytes(position["token"]),
            float(position["logprob"]),
            tuple((as_bytes(token), float(logprob)) for token, logprob in position["top"]),
        )
        for position in line.positions
    ]


def _start(line: Told, positions: Sequence[Position]) -> int:
    """Where the text begins within the tokens, in bytes; some servers tell more tokens than the answer holds."""
    written = b"".join(position.token for position in positions)
    place = max(0, written.find(line.answer.encode()))
    return place + len(line.answer[: line.start].encode())


def as_bytes(token: str | list[int]) -> bytes:
    """A token as the journal keeps it: as text where that is all of it."""
    return token.encode() if isinstance(token, str) else bytes(token)


def _told_of_rows(inputs: Mapping[str, Finished]) -> Iterator[tuple[int, Told]]:
    """What was told of each row of the pool that is taught, by the row's number."""
    bought = PseudoTargetPool.open(inputs["bought"].folder)
    taught = PseudoTargetPool.open(inputs["pool"].folder)
    names = {(row.input_id, row.sample): place for place, row in enumerate(taught)}
    rows = [names.get((row.input_id, row.sample)) for row in bought]
    for line in _lines(inputs["bought"]):
        row = rows[line.row]
        if row is not None:
            yield row, line


def _lines(bought: Finished) -> Iterator[Told]:
    """What the endpoint told of its texts, one at a time."""
    with (bought.folder / LOGPROBS).open(encoding="utf-8") as file:
        for line in file:
            yield Told(**json.loads(line))
