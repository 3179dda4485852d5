"""A pool made of the files of other folders: an index names them, and nothing is copied.

The inputs of each file are numbered; the index says which inputs of the task they are.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from understudy.errors import PoolError
from understudy.pool.pool_files import PoolFile, read_pool_file, refuse_other_provenance, with_column
from understudy.store.disk import read_json, write_json
from understudy.store.manifest import parse

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


@dataclass(frozen=True)
class Index:
    """The content of an index file."""

    parts: tuple[PoolPart, ...]
    input_ids: tuple[str, ...]
    """All inputs, in the order of the pool."""
    per_input: int


def write_index(folder: Path, parts: Sequence[PoolPart], *, input_ids: Sequence[str], per_input: int) -> None:
    """Writes the index of a pool.

    Args:
        folder: of the index.
        parts: in the order in which texts of one input follow each other.
        input_ids: all inputs, in the order of the pool.
        per_input: texts of each input; further texts in the parts are ignored.
    """
    write_json(folder / INDEX, asdict(Index(tuple(parts), tuple(input_ids), per_input)))


def read_indexed(folder: Path) -> PoolFile | None:
    """The pool of an index as one table; None where the folder has no index.

    Raises:
        PoolError: if a part was deleted or is damaged, or two parts differ in provenance.
    """
    if not (folder / INDEX).is_file():
        return None
    index = parse(Index, read_json(folder / INDEX), folder)
    files = [(part, file) for part in index.parts for file in _files(folder, part)]
    for _, other in files[1:]:
        refuse_other_provenance(files[0][1], other)
    rows = pa.concat_tables([_rows(part, file, index.per_input) for part, file in files])
    if unknown := set(rows["input_id"].unique().to_pylist()) - set(index.input_ids):
        raise PoolError(
            f"the index of the pool in {folder} does not name the input {min(unknown)!r} of its own parts, so it was "
            "changed; delete the folder and run the recipe again"
        )
    return PoolFile(folder / INDEX, files[0][1].provenance, _merged(rows, index.input_ids))


def part_holding(folder: Path, token_id: int) -> Path:
    """The folder of the part of a pool that holds a token id; the pool's own where it has no index."""
    if not (folder / INDEX).is_file():
        return folder
    for part in parse(Index, read_json(folder / INDEX), folder).parts:
        for file in _files(folder, part):
            if pc.is_in(
                pa.scalar(token_id), value_set=pc.list_flatten(file.table["token_ids"]).combine_chunks()
            ).as_py():
                return (folder / part.folder).resolve()
    return folder


def _files(folder: Path, part: PoolPart) -> list[PoolFile]:
    paths = sorted((folder / part.folder).glob("*.parquet"))
    if not paths:
        raise PoolError(
            f"the pool in {folder} needs the files in {(folder / part.folder).resolve()}, which were deleted; run the "
            "recipe again to generate them again"
        )
    return [read_pool_file(path) for path in paths]


def _rows(part: PoolPart, file: PoolFile, per_input: int) -> pa.Table:
    """The rows of a part with the ids of the task, of no input more than its first `per_input` texts."""
    table = file.table.filter(pc.less(file.table["sample"], per_input - part.first_text))
    names = pa.chunked_array([pa.array(part.input_ids, pa.string())])
    return with_column(table, "input_id", names.take(pc.cast(table["input_id"], pa.int64())))


def _merged(rows: pa.Table, input_ids: Sequence[str]) -> pa.Table:
    """The rows grouped by input: its samples are renumbered from 0 in their order, and its copies are counted."""
    places = pc.index_in(rows["input_id"], value_set=pa.array(input_ids, pa.string())).to_numpy()
    order = np.argsort(places, kind="stable")
    rows, places = rows.take(order), places[order].astype(np.int64)
    _, first, counts = np.unique(places, return_index=True, return_counts=True)
    rows = with_column(rows, "sample", np.arange(len(places)) - np.repeat(first, counts))
    texts = pc.index_in(rows["text"], value_set=rows["text"].unique()).to_numpy().astype(np.int64)
    _, pair, copies = np.unique(places * max(1, len(texts)) + texts, return_inverse=True, return_counts=True)
    return with_column(rows, "copies", copies[pair])
