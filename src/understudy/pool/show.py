"""Some rows of a pool for people to look at: text beside its source.

Chooses and joins; printing is the command line's.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from understudy.errors import PoolError
from understudy.pool.pool import PseudoTargetPool
from understudy.records import PseudoTarget, TextGenerator


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A pseudo-target as a person reads it."""

    input_id: str
    source: str
    text: str
    logprob_per_token: float | None
    """In nats; None where the engine could not tell."""
    copies: int
    tokens: int
    generator: TextGenerator
    round: int


def show_rows(
    pool: PseudoTargetPool, sources: Mapping[str, str], *, limit: int, seed: int, search: str | None = None
) -> list[ShownRow]:
    """Draw rows at random and put each beside its source.

    Args:
        pool: what to draw from.
        sources: input id -> source, for every input of the pool.
        limit: at most so many rows, in the pool's order.
        seed: fixes the draw.
        search: only rows whose text or source contains this, in upper or lower case.

    Raises:
        PoolError: if an input of the pool has no source.
    """
    strangers = [input_id for input_id in pool.inputs if input_id not in sources]
    if strangers:
        raise PoolError(
            f"{len(strangers)} of the {len(pool.inputs)} inputs of the pool in {pool.folder} have no source, "
            f"{strangers[0]!r} among them; show the pool with the task it was written for"
        )
    candidates = _matching(pool, sources, search)
    chosen = sorted(random.Random(seed).sample(candidates, min(limit, len(candidates))))
    return [_shown(row, sources) for row in map(pool.row, chosen)]


def _shown(row: PseudoTarget, sources: Mapping[str, str]) -> ShownRow:
    tokens = len(row.token_ids)
    known = tokens and isfinite(row.logprob)
    return ShownRow(
        input_id=row.input_id,
        source=sources[row.input_id],
        text=row.text,
        logprob_per_token=row.logprob / tokens if known else None,
        copies=row.copies,
        tokens=tokens,
        generator=row.generator,
        round=row.round,
    )


def _matching(pool: PseudoTargetPool, sources: Mapping[str, str], search: str | None) -> list[int]:
    if not search:
        return list(range(len(pool)))
    wanted = search.casefold()
    in_source = [wanted in sources[input_id].casefold() for input_id in pool.inputs]
    rows = zip(pool.texts, pool.input_indices.tolist(), strict=True)
    return [row for row, (text, place) in enumerate(rows) if in_source[place] or wanted in text.casefold()]
