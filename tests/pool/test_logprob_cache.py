from pathlib import Path

import numpy as np
import pytest

from understudy.errors import PoolError
from understudy.pool.logprob_cache import LogprobCacheFile, TeacherLogprobs, read_logprob_cache


def filled(folder: Path, *, done: int = 3, content: str = "texts") -> LogprobCacheFile:
    """A file of four positions and two kept tokens, three of them finished."""
    file = LogprobCacheFile.open(folder, positions=4, top=2, content=content)
    file.signal.ids_PK[:done] = [[7, 3]] * done
    file.signal.logp_PK[:done] = [[-0.25, -2.0]] * done
    file.finish(done)
    return file


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Ids and log-probabilities, mapped from disk."""
    filled(tmp_path, done=4)
    signal = read_logprob_cache(tmp_path, positions=4, content="texts")

    assert isinstance(signal.ids_PK, np.memmap)
    assert signal.ids_PK.tolist() == [[7, 3]] * 4
    assert signal.logp_PK.tolist() == [[-0.25, -2.0]] * 4


def test_a_killed_file_goes_on_where_it_stood(tmp_path: Path) -> None:
    """What was finished is there; a file without a receipt begins anew."""
    filled(tmp_path)
    again = LogprobCacheFile.open(tmp_path, positions=4, top=2, content="texts")
    (tmp_path / "new").mkdir()

    assert again.done == 3
    assert again.signal.ids_PK[:3].tolist() == [[7, 3]] * 3
    assert LogprobCacheFile.open(tmp_path / "new", positions=4, top=2, content="texts").done == 0


def test_where_the_system_gives_no_room_ahead_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS: what stands there stays."""
    filled(tmp_path)
    monkeypatch.delattr("os.posix_fallocate", raising=False)
    monkeypatch.setattr("understudy.pool.logprob_cache.BLOCK", 100)
    again = LogprobCacheFile.open(tmp_path, positions=4, top=2, content="texts")

    assert again.done == 3
    assert again.signal.ids_PK[:3].tolist() == [[7, 3]] * 3
    assert again.signal.logp_PK[:3].tolist() == [[-0.25, -2.0]] * 3


def test_the_remains_of_other_texts_are_not_taken_up(tmp_path: Path) -> None:
    """A killed attempt at another teacher's signal, or at other texts, is begun anew."""
    filled(tmp_path)

    assert LogprobCacheFile.open(tmp_path, positions=5, top=2, content="others").done == 0


def test_single_precision_is_kept_where_it_was_asked_for(tmp_path: Path) -> None:
    """Seven digits and minus infinity come back as they were written; half precision is the rule."""
    few = np.array([[-0.1234567, -np.inf]], np.float32)
    file = LogprobCacheFile.open(tmp_path, positions=1, top=2, content="texts", dtype=np.float32)
    file.signal.logp_PK[:] = few
    file.finish(1)

    read = read_logprob_cache(tmp_path, positions=1, content="texts").logp_PK
    assert read.dtype == np.float32
    assert read.tolist() == few.tolist()
    assert LogprobCacheFile.open(tmp_path, positions=1, top=2, content="texts", dtype=np.float32).done == 1
    assert LogprobCacheFile.open(tmp_path, positions=1, top=2, content="texts").done == 0
    assert LogprobCacheFile.open(tmp_path, positions=1, top=2, content="texts").signal.logp_PK.dtype == np.float16


@pytest.mark.parametrize(("positions", "content"), [(4, "others"), (5, "texts")])
def test_the_signal_of_other_texts_is_refused(positions: int, content: str, tmp_path: Path) -> None:
    """Another teacher, another tokenizer or another text is another content; the message shows both."""
    filled(tmp_path)

    with pytest.raises(PoolError, match=rf"4 positions of texts texts, and {positions} positions of texts {content}"):
        read_logprob_cache(tmp_path, positions=positions, content=content)


def test_signals_are_joined_in_order() -> None:
    """The positions of the second follow those of the first."""
    parts = [TeacherLogprobs(np.full((n, 2), n, np.int32), np.full((n, 2), -n, np.float16)) for n in (1, 2)]
    joined = TeacherLogprobs.joined(parts)

    assert joined.ids_PK[:, 0].tolist() == [1, 2, 2]
    assert joined.logp_PK[:, 1].tolist() == [-1, -2, -2]
