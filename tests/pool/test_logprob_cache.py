"""The log-probability cache on disk: appended in parts, resumed after an interruption, read by position."""

from pathlib import Path

import numpy as np
import pytest

from understudy.errors import PoolError
from understudy.pool import logprob_cache
from understudy.pool.logprob_cache import (
    COUNTS,
    ROWS,
    LogprobCache,
    LogprobCacheFile,
    TeacherLogprobs,
    read_logprob_cache,
    unordered_logprobs,
)
from understudy.pool.logprob_rows import Bytes, RowFormat, pack_rows

NOTHING = -np.inf


def opened(folder: Path, *, fingerprint: str = "abc", **other: object) -> LogprobCacheFile:
    """A cache of two tokens at most, of a vocabulary of nine."""
    return LogprobCacheFile.open(folder, **{"top_k": 2, "vocab_size": 9, "fingerprint": fingerprint, **other})  # type: ignore[arg-type]


def rows(count: int, *, lost: float = 0.25) -> TeacherLogprobs:
    """Positions that keep two tokens and one in turn."""
    ids, logp = (
        np.array([[7, 3], [4, 0]] * count, np.int32),
        np.array([[-0.25, -2.0], [0.0, NOTHING]] * count, np.float16),
    )
    return TeacherLogprobs(ids[:count], logp[:count], np.full(count, lost, np.float32))


def write_cache(folder: Path, *, positions: int = 4) -> LogprobCacheFile:
    """A cache that has been written at once."""
    file = opened(folder)
    file.append(rows(positions), done=positions)
    return file


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """In any order; an absent entry has an id that its row lacks."""
    write_cache(tmp_path)
    cache = read_logprob_cache(tmp_path, positions=4, fingerprint="abc")
    found = cache.at(np.array([3, 0, 2]))

    assert isinstance(cache.rows_B, np.memmap)
    assert found.ids_PK.tolist() == [[4, 0], [7, 3], [7, 3]]
    assert found.logp_PK.tolist() == [[0.0, NOTHING], [-0.25, -2.0], [-0.25, -2.0]]


@pytest.mark.parametrize("part", [64, 1 << 16])
def test_every_position_of_many_is_found(part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the last block and where rows are packed and sized in parts."""
    monkeypatch.setattr(logprob_cache, "PART", part)
    draw = np.random.default_rng(0)
    ids = np.argsort(draw.random((333, 40)), axis=1)[:, :9].astype(np.int32) * 4000
    logp = np.where(np.arange(9) < draw.integers(1, 10, (333, 1)), -draw.random((333, 9)), NOTHING).astype(np.float16)
    file = opened(tmp_path, top_k=9, vocab_size=160_000)
    for start in (0, 100, 200):
        stop = start + 100 if start < 200 else 333
        file.append(TeacherLogprobs(ids[start:stop], logp[start:stop]), done=stop)
    found = read_logprob_cache(tmp_path, positions=333, fingerprint="abc").at(order := draw.permutation(333))

    np.testing.assert_array_equal(found.logp_PK, logp[order])
    np.testing.assert_array_equal(found.ids_PK[logp[order] > NOTHING], ids[order][logp[order] > NOTHING])


def test_totals_are_sums_over_what_is_on_disk(tmp_path: Path) -> None:
    """Bytes, tokens, mass, and the lost divergence of the positions where it was measured."""
    file, half = opened(tmp_path), np.exp(-0.25) + np.exp(-2.0)
    lost = np.array([0.5, np.nan, np.nan, 0.25], np.float32)
    file.append(TeacherLogprobs(rows(4).ids_PK, rows(4).logp_PK, lost), done=1)
    file.append(rows(1), done=2)
    totals = opened(tmp_path).totals

    assert (totals.positions, totals.kept, totals.measured) == (5, 8, 3)
    assert totals.row_bytes == 8 * 4 == (tmp_path / ROWS).stat().st_size
    assert totals.count_bytes == 5 == (tmp_path / COUNTS).stat().st_size
    assert totals.mass == pytest.approx(3 * half + 2)
    assert totals.lost == pytest.approx(1.0)


def test_an_interrupted_cache_is_resumed_with_the_same_bytes(tmp_path: Path) -> None:
    """What follows the last commit is written again; a folder without metadata gives a new cache."""
    for name in ("whole", "killed", "new"):
        (tmp_path / name).mkdir()
    write_cache(tmp_path / "whole").append(rows(3), done=7)
    write_cache(tmp_path / "killed")
    for name in (ROWS, COUNTS):
        with (tmp_path / "killed" / name).open("ab") as file:
            file.write(b"half a row")
    reopened = opened(tmp_path / "killed")

    assert (reopened.done, opened(tmp_path / "new").done) == (4, 0)
    reopened.append(rows(3), done=7)
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "killed" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "other", [{"fingerprint": "other"}, {"top_k": 3}, {"vocab_size": 1 << 17}, {"dtype": np.float32}]
)
def test_a_cache_of_something_else_is_overwritten(other: dict[str, object], tmp_path: Path) -> None:
    """An interrupted cache with another fingerprint or format is not resumed."""
    write_cache(tmp_path)

    assert opened(tmp_path, **other).done == 0  # type: ignore[arg-type]
    assert (tmp_path / ROWS).stat().st_size == (tmp_path / COUNTS).stat().st_size == 0


def test_single_precision_is_available(tmp_path: Path) -> None:
    """Seven digits are read as written."""
    few = np.array([[-0.1234567, NOTHING]], np.float32)
    opened(tmp_path, dtype=np.float32).append(TeacherLogprobs(np.array([[1, 2]], np.int32), few), done=1)
    read = read_logprob_cache(tmp_path, positions=1, fingerprint="abc").at(np.array([0])).logp_PK

    assert read.dtype == np.float32
    assert read.tolist() == few.tolist()


def test_more_than_255_tokens_have_counts_of_four_bytes(tmp_path: Path) -> None:
    """One byte would wrap around."""
    file = opened(tmp_path, top_k=300, vocab_size=400)
    ids, logp = np.arange(300, dtype=np.int32)[None], np.zeros((1, 300), np.float16)
    file.append(TeacherLogprobs(ids, logp), done=1)

    assert file.totals.count_bytes == 4
    assert LogprobCache.open(tmp_path).at(np.array([0])).ids_PK.tolist() == ids.tolist()


def test_many_tokens_are_packed_a_few_positions_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing needs memory for each token, however many tokens a position keeps; the bytes are the same."""
    write_cache(tmp_path, positions=9)
    whole, packed = (tmp_path / ROWS).read_bytes(), list[int]()
    monkeypatch.setattr(logprob_cache, "PART_TOKENS", 6)

    def pack(ids_PK: np.ndarray, logp_PK: np.ndarray, layout: RowFormat) -> tuple[Bytes, np.ndarray]:
        packed.append(ids_PK.size)
        return pack_rows(ids_PK, logp_PK, layout)

    monkeypatch.setattr(logprob_cache, "pack_rows", pack)
    opened(tmp_path, fingerprint="other").append(rows(9), done=9)

    assert packed == [6, 6, 6]
    assert (tmp_path / ROWS).read_bytes() == whole


def test_a_cache_without_positions_can_be_read(tmp_path: Path) -> None:
    """Empty files cannot be memory-mapped."""
    write_cache(tmp_path, positions=0)

    assert len(read_logprob_cache(tmp_path, positions=0, fingerprint="abc").counts_P) == 0


@pytest.mark.parametrize(("positions", "fingerprint"), [(4, "other"), (5, "abc")])
def test_reading_a_cache_of_other_texts_is_refused(positions: int, fingerprint: str, tmp_path: Path) -> None:
    """The message shows positions and fingerprint, found and expected, and the remedy."""
    write_cache(tmp_path)

    with pytest.raises(PoolError, match=rf"4 positions .*abc.* {positions} positions .*{fingerprint}.*delete"):
        read_logprob_cache(tmp_path, positions=positions, fingerprint=fingerprint)


@pytest.mark.parametrize("allocates", [True, False])
def test_unordered_positions_are_deleted_at_the_end(
    allocates: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without posix_fallocate, as on macOS, the files are rewritten with their own content."""
    if not allocates:
        monkeypatch.delattr("os.posix_fallocate", raising=False)
        monkeypatch.setattr(logprob_cache, "READ_BYTES", 100)
    with unordered_logprobs(tmp_path, positions=40, top_k=2) as logprobs:
        logprobs.ids_PK[30] = [7, 3]
        assert logprobs.at(np.array([30, 0])).ids_PK.tolist() == [[7, 3], [0, 0]]
        assert len(list(tmp_path.iterdir())) == 2

    assert list(tmp_path.iterdir()) == []


def test_parts_are_joined_in_order() -> None:
    """The positions of the second follow those of the first."""
    parts = [TeacherLogprobs(np.full((n, 2), n, np.int32), np.full((n, 2), -n, np.float16)) for n in (1, 2)]
    joined = TeacherLogprobs.joined(parts)

    assert joined.ids_PK[:, 0].tolist() == [1, 2, 2]
    assert joined.logp_PK[:, 1].tolist() == [-1, -2, -2]
