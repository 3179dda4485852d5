"""One file of pseudo-targets: Parquet, with its provenance in the metadata.

A file is complete or absent, equal rows give equal bytes, and reading detects flipped bits. How files form a pool is
in `pool.py`; the pipeline decides which files exist.
"""

import errno
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from understudy.errors import PoolError
from understudy.records import PseudoTarget

SCHEMA = pa.schema(
    [
        pa.field("input_id", pa.string(), nullable=False),
        pa.field("generator", pa.string(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("token_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("logprob", pa.float64(), nullable=False),
        pa.field("copies", pa.int32(), nullable=False),
    ]
)
"""The columns are the fields of `PseudoTarget`."""

POOL_FILE = "pool-00000.parquet"
"""The name of the file of a pool in one piece."""

PROVENANCE = b"understudy.pool.1"
"""Key of the provenance among the file's metadata; the number is the version of the format."""


@dataclass(frozen=True, slots=True)
class PoolFile:
    """The content of one pool file: its rows and their provenance."""

    path: Path
    provenance: Mapping[str, str]
    table: pa.Table


def write_pool_file(path: Path, targets: Sequence[PseudoTarget] | pa.Table, provenance: Mapping[str, str]) -> None:
    """Writes pseudo-targets as one file, durably: after a crash the file is complete or absent.

    Args:
        path: of the file, in an existing folder. An earlier file of this name is replaced.
        targets: the rows, kept in their order; a table has the columns of `SCHEMA`.
        provenance: how they were generated (teacher key, decoding, seed, engine, tokenizer ...); equal in all
            files of a pool.

    Raises:
        PoolError: if the disk or the quota is full; no partial file remains.
    """
    content = _encode(targets, provenance)
    partial = path.with_name(f".{path.name}.tmp")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        partial.unlink(missing_ok=True)  # first, so that the reported free space is what the user finds
        raise PoolError(
            f"disk full while writing pool file {path}: {shutil.disk_usage(path.parent).free // 10**6} MB "
            f"free in {path.parent}; free space and run the same command again, finished files are kept"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def read_pool_file(path: Path) -> PoolFile:
    """Reads a pool file and verifies its page checksums.

    Raises:
        PoolError: if the file is missing, truncated, damaged, or not a pool file of this format.
    """
    try:
        table = pq.ParquetFile(pa.BufferReader(path.read_bytes()), page_checksum_verification=True).read(
            use_threads=False
        )
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise PoolError(
            f"cannot read pool file {path}: {reason}; delete the file and run the same command again, "
            "only this file is generated again"
        ) from error
    metadata = table.schema.metadata or {}
    if PROVENANCE not in metadata or not table.schema.equals(SCHEMA):
        raise PoolError(
            f"{path} is not a pool file of format {PROVENANCE.decode()}: its columns are "
            f"{', '.join(table.schema.names) or 'none'}; move it out of the folder, or generate the pool again"
        )
    return PoolFile(path, json.loads(metadata[PROVENANCE]), table.replace_schema_metadata(None))


def refuse_other_provenance(first: PoolFile, other: PoolFile) -> None:
    """Refuses two files of different pools.

    Raises:
        PoolError: if their provenance differs.
    """
    differing = [
        f"{key} is {first.provenance.get(key)!r} and {other.provenance.get(key)!r}"
        for key in sorted(first.provenance.keys() | other.provenance.keys())
        if first.provenance.get(key) != other.provenance.get(key)
    ]
    if differing:
        raise PoolError(
            f"pool files {first.path} and {other.path} differ in provenance: {'; '.join(differing)}; "
            "move the files of one provenance to another folder"
        )


def with_column(table: pa.Table, name: str, values: pa.ChunkedArray | NDArray[np.int64]) -> pa.Table:
    """The rows with other values in one column."""
    field = SCHEMA.field(name)
    column = pa.array(values, field.type) if isinstance(values, np.ndarray) else values
    return table.set_column(SCHEMA.get_field_index(name), field, column)


def table_of(targets: Sequence[PseudoTarget]) -> pa.Table:
    """Pseudo-targets as a table."""
    columns = {field.name: [getattr(target, field.name) for target in targets] for field in fields(PseudoTarget)}
    return pa.table(columns, schema=SCHEMA)


def _encode(targets: Sequence[PseudoTarget] | pa.Table, provenance: Mapping[str, str]) -> pa.Buffer:
    # The file is made in memory, so that each disk error is a Python OSError with its errno.
    metadata_json = json.dumps(dict(provenance), sort_keys=True, ensure_ascii=False)
    # Parquet names the elements of lists in its own way; the file of a table has the bytes of the file of its rows.
    table = targets.cast(SCHEMA) if isinstance(targets, pa.Table) else table_of(targets)
    table = table.replace_schema_metadata({PROVENANCE: metadata_json.encode()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def _sync_folder(folder: Path) -> None:
    # The new name is durable only once its folder is.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
