"""One shard of pseudo-targets: a Parquet file that names its own provenance.

A shard is there completely or not at all, equal rows give equal bytes, and whoever reads it notices a
flipped bit. How shards form a pool stands in `pool.py`; which shards exist is the pipeline's decision.
"""

import errno
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

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

PROVENANCE = b"understudy.pool.1"
"""Key of the provenance among the file's metadata; the number is the version of the format."""


@dataclass(frozen=True, slots=True)
class PoolFile:
    """A shard as it was read: its rows, and what made them."""

    path: Path
    provenance: Mapping[str, str]
    table: pa.Table


def write_shard(path: Path, targets: Sequence[PseudoTarget], provenance: Mapping[str, str]) -> None:
    """Write pseudo-targets as one shard, durably: after a crash the file is complete or absent.

    Args:
        path: the shard's place; its folder exists. An earlier shard of this name is replaced.
        targets: the rows, kept in their order.
        provenance: what made them (teacher key, decoding, seed, engine, tokenizer ...); equal in all
            shards of a pool.

    Raises:
        PoolError: if the disk or the quota is full; no half shard is left behind.
    """
    content = _encode(targets, provenance)
    half = path.with_name(f".{path.name}.tmp")
    try:
        with half.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        half.unlink(missing_ok=True)  # first, so that the free space we report is what the user finds
        raise PoolError(
            f"disk full while writing pool shard {path}: {shutil.disk_usage(path.parent).free // 10**6} MB "
            f"free in {path.parent}; free space and run the same command again, finished shards are kept"
        ) from error
    finally:
        half.unlink(missing_ok=True)


def read_shard(path: Path) -> PoolFile:
    """Read a shard, checking its page checksums.

    Raises:
        PoolError: if the file is missing, cut short, damaged, or no pool shard of this format.
    """
    try:
        table = pq.read_table(pa.BufferReader(path.read_bytes()), page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise PoolError(
            f"cannot read pool shard {path}: {reason}; delete the file and run the same command again, "
            "only this shard is written anew"
        ) from error
    metadata = table.schema.metadata or {}
    if PROVENANCE not in metadata or not table.schema.equals(SCHEMA):
        raise PoolError(
            f"{path} is no pool shard of format {PROVENANCE.decode()}: its columns are "
            f"{', '.join(table.schema.names) or 'none'}; move it out of the folder, or write the pool anew"
        )
    return PoolFile(path, json.loads(metadata[PROVENANCE]), table.replace_schema_metadata(None))


def _encode(targets: Sequence[PseudoTarget], provenance: Mapping[str, str]) -> pa.Buffer:
    # The file is made in memory: then each error of the disk is Python's own, with its errno.
    columns = {field.name: [getattr(target, field.name) for target in targets] for field in fields(PseudoTarget)}
    label = json.dumps(dict(provenance), sort_keys=True, ensure_ascii=False)
    table = pa.table(columns, schema=SCHEMA.with_metadata({PROVENANCE: label.encode()}))
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
