import errno
import os
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from understudy.errors import PoolError
from understudy.pool import read_shard, write_shard
from understudy.pool.shards import SCHEMA
from understudy.records import PseudoTarget


def full_disk(_handle: int) -> None:
    """What fsync says when the blocks that write() promised are not there."""
    raise OSError(errno.ENOSPC, "No space left on device")


def test_columns_are_the_fields_of_the_record() -> None:
    """A field added to PseudoTarget cannot be forgotten on disk."""
    assert SCHEMA.names == [field.name for field in fields(PseudoTarget)]


def test_a_shard_returns_what_was_written(tmp_path: Path, targets: list[PseudoTarget]) -> None:
    """Another Parquet reader finds the rows, and the provenance is the one that was given."""
    write_shard(tmp_path / "s.parquet", targets, {"teacher": "0a1b", "decoding": '{"kind": "beam"}'})

    texts = pq.read_table(tmp_path / "s.parquet")["text"].to_pylist()
    assert texts == [target.text for target in targets]
    assert read_shard(tmp_path / "s.parquet").provenance == {
        "teacher": "0a1b",
        "decoding": '{"kind": "beam"}',
    }


def test_equal_rows_give_equal_bytes(tmp_path: Path, targets: list[PseudoTarget]) -> None:
    """Neither the time nor the order in which the provenance was built shows in the file."""
    write_shard(tmp_path / "s.parquet", targets, {"seed": "1", "engine": "hf"})
    write_shard(tmp_path / "t.parquet", targets, {"engine": "hf", "seed": "1"})

    assert (tmp_path / "s.parquet").read_bytes() == (tmp_path / "t.parquet").read_bytes()


def test_a_full_disk_leaves_no_half_shard(
    tmp_path: Path, targets: list[PseudoTarget], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says how much is free, where, and that nothing finished is lost; the folder stays clean."""
    write_shard(tmp_path / "00000.parquet", targets, {})
    monkeypatch.setattr(os, "fsync", full_disk)

    with pytest.raises(
        PoolError,
        match=r"disk full while writing pool shard .*00001\.parquet: \d+ MB free in .*"
        r"free space and run the same command again, finished shards are kept",
    ):
        write_shard(tmp_path / "00001.parquet", targets, {})
    assert [path.name for path in tmp_path.iterdir()] == ["00000.parquet"]


def test_a_failed_write_keeps_the_earlier_shard(
    tmp_path: Path, targets: list[PseudoTarget], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old file goes only when the new one is complete."""
    write_shard(tmp_path / "s.parquet", targets, {"seed": "1"})
    monkeypatch.setattr(os, "fsync", full_disk)

    with pytest.raises(PoolError, match="disk full"):
        write_shard(tmp_path / "s.parquet", targets[:1], {"seed": "2"})
    assert read_shard(tmp_path / "s.parquet").provenance == {"seed": "1"}


def test_another_error_of_the_system_passes_unchanged(tmp_path: Path, targets: list[PseudoTarget]) -> None:
    """A folder that is not there is not called a full disk."""
    with pytest.raises(FileNotFoundError):
        write_shard(tmp_path / "absent" / "s.parquet", targets, {})


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_shard_cut_short_is_named_with_its_remedy(tmp_path: Path, targets: list[PseudoTarget], share: float) -> None:
    """Wherever it was cut, the message says which file to delete and what it costs."""
    path = tmp_path / "s.parquet"
    write_shard(path, targets, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])

    with pytest.raises(PoolError, match=r"cannot read pool shard .*s\.parquet: .+; delete the file and run"):
        read_shard(path)


def test_a_flipped_bit_is_noticed(tmp_path: Path, targets: list[PseudoTarget]) -> None:
    """A token id changed on disk does not reach training: the page's checksum differs."""
    path = tmp_path / "s.parquet"
    write_shard(path, targets, {})
    column = pq.read_metadata(path).row_group(0).column(SCHEMA.names.index("token_ids"))
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(content)

    with pytest.raises(PoolError, match="delete the file and run the same command again"):
        read_shard(path)


def test_a_missing_shard_is_named() -> None:
    """A path without a file is an error of the pool, not a traceback of Parquet."""
    with pytest.raises(PoolError, match=r"cannot read pool shard absent\.parquet: .*No such file"):
        read_shard(Path("absent.parquet"))


def test_a_foreign_parquet_file_is_refused(tmp_path: Path) -> None:
    """The message shows the columns that were found."""
    pq.write_table(pa.table({"question": ["?"], "answer": ["!"]}), tmp_path / "s.parquet")

    with pytest.raises(PoolError, match=r"no pool shard of format .*: its columns are question, answer"):
        read_shard(tmp_path / "s.parquet")
