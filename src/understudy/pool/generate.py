"""Generation of the teacher's pseudo-targets, file by file, resumable.

The settings decide which inputs a file holds, and its seed is a function of (seed, file number), so neither
interruptions nor the number of workers change a text. This module handles engines; it does not depend on models or
training.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from understudy.config.decoding import PoolDecoding
from understudy.generation import Engine
from understudy.pool.pool_files import write_pool_file
from understudy.pool.rows import pseudo_target_rows
from understudy.progress import ProgressCallback
from understudy.records import Generated

FILE_SEED_STRIDE = 1_000_003
"""A prime, so that the files of two runs with neighboring seeds do not share random draws."""


def generate_pool(  # noqa: PLR0913 - each is a plain argument of the pool, and all are named
    engine: Engine,
    sources: Mapping[str, Sequence[int]],
    *,
    decoding: PoolDecoding,
    per_input: int,
    max_tokens: int,
    seed: int,
    inputs_per_file: int,
    decode: Callable[[Sequence[int]], str],
    provenance: Mapping[str, str],
    folder: Path,
    progress: ProgressCallback,
    stop_ids: Collection[int] = (),
    counted: Callable[[Generated], Generated] | None = None,
) -> None:
    """Generates the pool files that do not exist yet.

    Args:
        engine: of the teacher.
        sources: input id -> token ids in the teacher's encoding; their order is part of the result.
        decoding: how the teacher generates.
        per_input: texts per input.
        max_tokens: maximum length of a text in tokens, the end-of-sequence token included.
        seed: of all draws.
        inputs_per_file: inputs of each pool file.
        decode: token ids -> text.
        provenance: stored in every file.
        folder: of the files; finished ones in it are kept.
        progress: called with the number of inputs finished since the last call.
        stop_ids: tokens that end a text too.
        counted: a generated text -> what counts of it; None: all.

    Raises:
        PoolError: if the disk is full.
        GenerationError: if the engine does not support the request.
    """
    input_ids = list(sources)
    for number, start in enumerate(range(0, len(input_ids), inputs_per_file)):
        chunk = input_ids[start : start + inputs_per_file]
        path = folder / f"pool-{number:05d}.parquet"
        if path.exists():
            progress(len(chunk))
            continue
        generated = engine.generate(
            [sources[input_id] for input_id in chunk],
            decoding,
            per_source=per_input,
            max_tokens=max_tokens,
            seed=seed * FILE_SEED_STRIDE + number,
            stop_ids=stop_ids,
            progress=progress,
        )
        if counted:
            generated = [tuple(map(counted, texts)) for texts in generated]
        rows = pseudo_target_rows(chunk, generated, generator="teacher", round_number=0, decode=decode)
        write_pool_file(path, rows, provenance)
