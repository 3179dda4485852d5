from pathlib import Path

import numpy as np
import pytest

from understudy.errors import PoolError
from understudy.pool.logprob_cache import LogprobCacheFile, TeacherLogprobs, read_logprob_cache


def write_cache(folder: Path, *, done: int = 3, fingerprint: str = "abc") -> LogprobCacheFile:
    """A cache of four positions and two kept tokens, three positions finished."""
    file = LogprobCacheFile.open(folder, positions=4, top_k=2, fingerprint=fingerprint)
    file.logprobs.ids_PK[:done] = [[7, 3]] * done
    file.logprobs.logp_PK[:done] = [[-0.25, -2.0]] * done
    file.commit(done)
    return file


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Ids and log-probabilities, memory-mapped."""
    write_cache(tmp_path, done=4)
    logprobs = read_logprob_cache(tmp_path, positions=4, fingerprint="abc")

    assert isinstance(logprobs.ids_PK, np.memmap)
    assert logprobs.ids_PK.tolist() == [[7, 3]] * 4
    assert logprobs.logp_PK.tolist() == [[-0.25, -2.0]] * 4


def test_an_interrupted_cache_is_resumed(tmp_path: Path) -> None:
    """Finished positions are there; a folder without metadata gives a new cache."""
    write_cache(tmp_path)
    reopened = LogprobCacheFile.open(tmp_path, positions=4, top_k=2, fingerprint="abc")
    (tmp_path / "new").mkdir()

    assert reopened.done == 3
    assert reopened.logprobs.ids_PK[:3].tolist() == [[7, 3]] * 3
    assert LogprobCacheFile.open(tmp_path / "new", positions=4, top_k=2, fingerprint="abc").done == 0


def test_without_posix_fallocate_the_content_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, where the file is rewritten with its own content."""
    write_cache(tmp_path)
    monkeypatch.delattr("os.posix_fallocate", raising=False)
    monkeypatch.setattr("understudy.pool.logprob_cache.READ_BYTES", 100)
    reopened = LogprobCacheFile.open(tmp_path, positions=4, top_k=2, fingerprint="abc")

    assert reopened.done == 3
    assert reopened.logprobs.ids_PK[:3].tolist() == [[7, 3]] * 3
    assert reopened.logprobs.logp_PK[:3].tolist() == [[-0.25, -2.0]] * 3


def test_a_cache_of_other_texts_is_overwritten(tmp_path: Path) -> None:
    """An interrupted cache with another fingerprint is not resumed."""
    write_cache(tmp_path)

    assert LogprobCacheFile.open(tmp_path, positions=5, top_k=2, fingerprint="other").done == 0


def test_single_precision_is_available(tmp_path: Path) -> None:
    """Seven digits and minus infinity are read as written; half precision is the default."""
    few = np.array([[-0.1234567, -np.inf]], np.float32)
    file = LogprobCacheFile.open(tmp_path, positions=1, top_k=2, fingerprint="abc", dtype=np.float32)
    file.logprobs.logp_PK[:] = few
    file.commit(1)

    read = read_logprob_cache(tmp_path, positions=1, fingerprint="abc").logp_PK
    assert read.dtype == np.float32
    assert read.tolist() == few.tolist()
    assert LogprobCacheFile.open(tmp_path, positions=1, top_k=2, fingerprint="abc", dtype=np.float32).done == 1
    assert LogprobCacheFile.open(tmp_path, positions=1, top_k=2, fingerprint="abc").done == 0
    assert LogprobCacheFile.open(tmp_path, positions=1, top_k=2, fingerprint="abc").logprobs.logp_PK.dtype == np.float16


@pytest.mark.parametrize(("positions", "fingerprint"), [(4, "other"), (5, "abc")])
def test_reading_a_cache_of_other_texts_is_refused(positions: int, fingerprint: str, tmp_path: Path) -> None:
    """The message shows positions and fingerprint, found and expected, and the remedy."""
    write_cache(tmp_path)

    with pytest.raises(PoolError, match=rf"4 positions .*abc.* {positions} positions .*{fingerprint}.*delete"):
        read_logprob_cache(tmp_path, positions=positions, fingerprint=fingerprint)


def test_parts_are_joined_in_order() -> None:
    """The positions of the second follow those of the first."""
    parts = [TeacherLogprobs(np.full((n, 2), n, np.int32), np.full((n, 2), -n, np.float16)) for n in (1, 2)]
    joined = TeacherLogprobs.joined(parts)

    assert joined.ids_PK[:, 0].tolist() == [1, 2, 2]
    assert joined.logp_PK[:, 1].tolist() == [-1, -2, -2]
