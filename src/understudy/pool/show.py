"""Random rows of a pool with their sources, for people to look at.

This module chooses and joins rows; the command line prints them.
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
    """In nats; None where the engine does not report it."""
    copies: int
    tokens: int
    generator: TextGenerator
    round: int


def show_rows(
    pool: PseudoTargetPool, sources: Mapping[str, str], *, limit: int, seed: int, search: str | None = None
) -> list[ShownRow]:
    """Draws rows at random and joins each with its source.

    Args:
        pool: what to draw from.
        sources: input id -> source, for every input of the pool.
        limit: maximum number of rows; the pool's order is kept.
        seed: fixes the draw.
        search: only rows whose text or source contains this, case-insensitively.

    Raises:
        PoolError: if an input of the pool has no source.
    """
    missing = [input_id for input_id in pool.inputs if input_id not in sources]
    if missing:
        raise PoolError(
            f"{len(missing)} of the {len(pool.inputs)} inputs of the pool in {pool.folder} have no source, for example "
            f"{missing[0]!r}; show the pool with the task it was generated for"
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
    return [row for row, (text, index) in enumerate(rows) if in_source[index] or wanted in text.casefold()]
