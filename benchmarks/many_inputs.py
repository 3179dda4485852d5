"""Peak memory and time of what the pipeline holds per unlabeled input, without a network.

Run: `python benchmarks/many_inputs.py --inputs 200000 --part reading` (or `pool`, `targets`), one part per process.
"""

import argparse
import random
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from understudy.pipeline import training_data
from understudy.pipeline.stages import data as data_stage
from understudy.pool import PseudoTargetPool, pool_files
from understudy.pool.pool_index import PoolPart, write_index
from understudy.records import Example
from understudy.tasks.files import load_files

WORDS, TOKENS = 30, 20


class SameTokens:
    """Two task tokenizers of one vocabulary."""

    same_tokens = True


def peak() -> int:
    """Peak resident memory in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def write_inputs(path: Path, inputs: int) -> None:
    """Writes records of about 30 words."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(inputs):
            words = " ".join(f"word{draw.randrange(20_000)}" for _ in range(WORDS))
            file.write(f'{{"source": "{words}"}}\n')


def write_pool(folder: Path, inputs: int) -> None:
    """Writes a pool file with one text per input, and its index."""
    (folder / "part").mkdir()
    (folder / "pool").mkdir()
    draw = np.random.default_rng(0)
    flat = draw.integers(300, 30_000, inputs * TOKENS, dtype=np.int32)
    lists = pa.ListArray.from_arrays(np.arange(0, len(flat) + 1, TOKENS, dtype=np.int32), flat)
    zeros = np.zeros(inputs, np.int32)
    texts = pa.array([f"text {number} " + "x" * 90 for number in range(inputs)])
    numbers = pa.array([str(number) for number in range(inputs)])
    teacher = pa.array(["teacher"] * inputs)
    columns = [numbers, teacher, zeros, zeros, lists, texts, np.zeros(inputs), zeros + 1]
    table = pa.Table.from_arrays(
        [pa.array(c) if isinstance(c, np.ndarray) else c for c in columns], schema=pool_files.SCHEMA
    )
    pq.write_table(
        table.replace_schema_metadata({pool_files.PROVENANCE: b"{}"}),
        folder / "part/pool-00000.parquet",
        write_page_checksum=True,
    )
    names = tuple(f"unlabeled-{number}" for number in range(inputs))
    write_index(folder / "pool", [PoolPart("../part", names, 0)], input_ids=names, per_input=1)


def main() -> None:
    """Measures one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=200_000)
    parser.add_argument("--part", choices=("reading", "pool", "targets"), default="reading")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if asked.part == "reading":
            write_inputs(folder / "unlabeled.jsonl", asked.inputs)
        else:
            write_pool(folder, asked.inputs)
        before, start = peak(), time.monotonic()
        if asked.part == "reading":
            data = load_files(unlabeled=folder / "unlabeled.jsonl").data
            data_stage.write_split(folder, "read", data.unlabeled)
            data_stage.load_split(folder, "read")
        else:
            pool = PseudoTargetPool.open(folder / "pool")
            if asked.part == "targets":
                examples = [Example(name, name) for name in pool.inputs]
                training_data.pool_targets(examples, SameTokens(), pool)  # type: ignore[arg-type]
        print(
            f"{asked.part}, {asked.inputs} inputs: peak {peak()} MB, {peak() - before} MB above the {before} MB "
            f"before, {time.monotonic() - start:.1f} s without a report"
        )


if __name__ == "__main__":
    main()
