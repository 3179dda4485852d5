"""The teacher writes pseudo-targets, shard by shard.

Which inputs a shard holds is fixed by the settings and its seed by (seed, shard), so neither interruptions nor the
number of workers change a text. Knows an engine; no models, no training.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from understudy.config.decoding import PoolDecoding
from understudy.generation import Engine
from understudy.pool.rows import pseudo_target_rows
from understudy.pool.shards import write_shard
from understudy.progress import ProgressCallback

PRIME = 1_000_003


def generate_pool(  # noqa: PLR0913 - each is a plain argument of the pool, and all are named
    engine: Engine,
    sources: Mapping[str, Sequence[int]],
    *,
    decoding: PoolDecoding,
    per_input: int,
    max_tokens: int,
    seed: int,
    shard_inputs: int,
    decode: Callable[[Sequence[int]], str],
    provenance: Mapping[str, str],
    folder: Path,
    advance: ProgressCallback,
) -> None:
    """Writes the shards that are not there yet.

    Args:
        engine: the teacher's.
        sources: input id -> token ids as the teacher reads them; their order is part of the result.
        decoding: how the teacher writes.
        per_input: texts of each input.
        max_tokens: of a text, end included.
        seed: of all draws.
        shard_inputs: inputs of each shard.
        decode: token ids -> text.
        provenance: what the shards shall say of their origin.
        folder: where they go; finished ones found there are kept.
        advance: told of inputs done.

    Raises:
        PoolError: if the disk is full.
        GenerationError: if the engine cannot write what is asked.
    """
    ids = list(sources)
    for number, start in enumerate(range(0, len(ids), shard_inputs)):
        mine = ids[start : start + shard_inputs]
        path = folder / f"shard-{number:05d}.parquet"
        if path.exists():
            advance(len(mine))
            continue
        written = engine.generate(
            [sources[name] for name in mine],
            decoding,
            per_source=per_input,
            max_tokens=max_tokens,
            seed=seed * PRIME + number,
            progress=advance,
        )
        write_shard(
            path, pseudo_target_rows(mine, written, generator="teacher", round_number=0, decode=decode), provenance
        )
