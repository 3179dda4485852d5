"""A pool made of the files of other folders: an index names them, and nothing is copied.

The inputs of each file are numbered; the index says which inputs of the task they are.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from understudy.errors import PoolError
from understudy.pool.pool_files import PoolFile, read_pool_file, table_of
from understudy.pool.rows import merge_rows, rows_of_table
from understudy.records import PseudoTarget
from understudy.store.disk import read_json, write_json

INDEX = "index.json"


@dataclass(frozen=True)
class PoolPart:
    """One folder of pool files."""

    folder: str
    """Relative to the index."""
    input_ids: tuple[str, ...]
    """The ids of its inputs 0, 1, ..."""
    first_text: int
    """Which text of its input the part's first one is."""


def write_index(folder: Path, parts: Sequence[PoolPart], *, input_ids: Sequence[str], per_input: int) -> None:
    """Writes the index of a pool.

    Args:
        folder: of the index.
        parts: in the order in which texts of one input follow each other.
        input_ids: all inputs, in the order of the pool.
        per_input: texts of each input; further texts in the parts are ignored.
    """
    plain = {"parts": [asdict(part) for part in parts], "input_ids": list(input_ids), "per_input": per_input}
    write_json(folder / INDEX, plain)


def read_indexed(folder: Path) -> PoolFile | None:
    """The pool of an index as one table; None where the folder has no index.

    Raises:
        PoolError: if a part was deleted or is damaged.
    """
    if not (folder / INDEX).is_file():
        return None
    index = read_json(folder / INDEX)
    parts = [PoolPart(part["folder"], tuple(part["input_ids"]), part["first_text"]) for part in index["parts"]]
    files = [(part, file) for part in parts for file in _files(folder, part)]
    rows = merge_rows((_rows(part, file, index["per_input"]) for part, file in files), index["input_ids"])
    return PoolFile(folder / INDEX, files[0][1].provenance, table_of(rows))
