import errno
import os
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from understudy.errors import PoolError
from understudy.pool import read_pool_file, write_pool_file
from understudy.pool.pool_files import SCHEMA
from understudy.records import PseudoTarget


def full_disk(_handle: int) -> None:
    """Fails as fsync does on a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device")


def test_columns_are_the_fields_of_the_record() -> None:
    """A field added to PseudoTarget cannot be forgotten on disk."""
    assert SCHEMA.names == [field.name for field in fields(PseudoTarget)]


def test_a_file_returns_what_was_written(tmp_path: Path, targets: list[PseudoTarget]) -> None:
    """Another Parquet reader finds the rows, and the provenance is the given one."""
    write_pool_file(tmp_path / "s.parquet", targets, {"teacher": "0a1b", "decoding": '{"kind": "beam"}'})

    texts = pq.read_table(tmp_path / "s.parquet")["text"].to_pylist()
    assert texts == [target.text for target in targets]
    assert read_pool_file(tmp_path / "s.parquet").provenance == {
        "teacher": "0a1b",
        "decoding": '{"kind": "beam"}',
    }


def test_a_table_is_written_as_its_rows(tmp_path: Path, targets: list[PseudoTarget]) -> None:
    """Rows that were read from a file and are written again give the bytes of a file of these rows."""
    write_pool_file(tmp_path / "rows.parquet", targets, {"seed": "1"})
    write_pool_file(tmp_path / "table.parquet", read_pool_file(tmp_path / "rows.parquet").table, {"seed": "1"})

    assert (tmp_path / "table.parquet").read_bytes() == (tmp_path / "rows.parquet").read_bytes()


def test_equal_rows_give_equal_bytes(tmp_path: Path, targets: list[PseudoTarget]) -> None:
    """The file depends neither on the time nor on the order of the provenance."""
    write_pool_file(tmp_path / "s.parquet", targets, {"seed": "1", "engine": "hf"})
    write_pool_file(tmp_path / "t.parquet", targets, {"engine": "hf", "seed": "1"})

    assert (tmp_path / "s.parquet").read_bytes() == (tmp_path / "t.parquet").read_bytes()


def test_a_full_disk_leaves_no_partial_file(
    tmp_path: Path, targets: list[PseudoTarget], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message shows the file, the free space and the remedy; no partial file remains."""
    write_pool_file(tmp_path / "00000.parquet", targets, {})
    monkeypatch.setattr(os, "fsync", full_disk)

    with pytest.raises(
        PoolError,
        match=r"disk full .*00001\.parquet: \d+ MB free in .*run the same command again",
    ):
        write_pool_file(tmp_path / "00001.parquet", targets, {})
    assert [path.name for path in tmp_path.iterdir()] == ["00000.parquet"]


def test_a_failed_write_keeps_the_earlier_file(
    tmp_path: Path, targets: list[PseudoTarget], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old file is replaced only by a complete one."""
    write_pool_file(tmp_path / "s.parquet", targets, {"seed": "1"})
    monkeypatch.setattr(os, "fsync", full_disk)

    with pytest.raises(PoolError, match="disk full"):
        write_pool_file(tmp_path / "s.parquet", targets[:1], {"seed": "2"})
    assert read_pool_file(tmp_path / "s.parquet").provenance == {"seed": "1"}


def test_another_error_of_the_system_passes_unchanged(tmp_path: Path, targets: list[PseudoTarget]) -> None:
    """A missing folder is not reported as a full disk."""
    with pytest.raises(FileNotFoundError):
        write_pool_file(tmp_path / "absent" / "s.parquet", targets, {})


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, targets: list[PseudoTarget], share: float) -> None:
    """Wherever it is truncated, the message names the file and the remedy."""
    path = tmp_path / "s.parquet"
    write_pool_file(path, targets, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])

    with pytest.raises(PoolError, match=r"s\.parquet: .+; delete the file and run"):
        read_pool_file(path)


def test_a_flipped_bit_is_detected(tmp_path: Path, targets: list[PseudoTarget]) -> None:
    """A token id changed on disk does not reach training: the page checksum differs."""
    path = tmp_path / "s.parquet"
    write_pool_file(path, targets, {})
    column = pq.read_metadata(path).row_group(0).column(SCHEMA.names.index("token_ids"))
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(content)

    with pytest.raises(PoolError, match="delete the file and run the same command again"):
        read_pool_file(path)


def test_a_missing_file_is_refused() -> None:
    """It raises a PoolError with the path, not an error of Parquet."""
    with pytest.raises(PoolError, match=r"absent\.parquet: .*No such file"):
        read_pool_file(Path("absent.parquet"))


def test_a_foreign_parquet_file_is_refused(tmp_path: Path) -> None:
    """The message shows the columns of the file."""
    pq.write_table(pa.table({"question": ["?"], "answer": ["!"]}), tmp_path / "s.parquet")

    with pytest.raises(PoolError, match=r"s\.parquet .*columns are question, answer"):
        read_pool_file(tmp_path / "s.parquet")
