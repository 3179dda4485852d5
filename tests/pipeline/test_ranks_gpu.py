"""Each rank sees one GPU of its machine. The number of GPUs is given: no GPU is needed."""

import os

import pytest

from understudy.errors import ConfigError
from understudy.pipeline.ranks import VISIBLE, choose_gpu
from understudy.ranks import Ranks


@pytest.mark.parametrize(
    ("visible", "local_rank", "expected"), [(None, 1, "1"), ("4,6", 1, "6"), ("GPU-a,GPU-b", 0, "GPU-a"), ("", 1, "1")]
)
def test_a_rank_sees_the_gpu_of_its_number(
    visible: str | None, local_rank: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among those that the user made visible, by number or by name."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv(VISIBLE, visible or "")
    if visible is None:
        monkeypatch.delenv(VISIBLE)
    choose_gpu(Ranks(2 + local_rank, 4, local_rank))

    assert os.environ[VISIBLE] == expected


def test_more_ranks_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks on one GPU would share its memory, and NCCL refuses them later with less clarity."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"rank 6 is process 3 on its machine, which has 2 GPUs.*--nproc-per-node 2"):
        choose_gpu(Ranks(6, 8, 2))


def test_a_machine_without_gpus_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks are then processes on its cores, as many as wanted."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.delenv(VISIBLE, raising=False)
    choose_gpu(Ranks(6, 8, 6))

    assert VISIBLE not in os.environ
