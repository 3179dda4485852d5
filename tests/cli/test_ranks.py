"""What the command line refuses where `torchrun` started it several times; a run: `pipeline/test_ranks_run.py`."""

from collections.abc import Callable
from pathlib import Path

import pytest

DECODINGS = ("evaluation.decoding={kind: greedy}", "pseudo_targets.decoding={kind: sampling}")
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def rank(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes this process one of two ranks, as `torchrun` does."""

    def become(number: int) -> None:
        for name, value in (("RANK", number), ("WORLD_SIZE", 2), ("LOCAL_RANK", number)):
            monkeypatch.setenv(name, str(value))

    return become


def test_a_command_that_cannot_share_its_work_is_refused_once(
    rank: Callable[[int], None], tmp_path: Path, understudy: Command
) -> None:
    """Rank 0 names the commands that can. The others end without a word or an error: torchrun would end it."""
    rank(0)
    code, out, err = understudy("study", tmp_path / "study.yaml")
    assert (code, out) == (1, "")
    assert err == (
        "understudy: torchrun started understudy study 2 times, and only run and demo can share their work; start it "
        "without torchrun\n"
    )

    rank(1)
    assert understudy("study", tmp_path / "study.yaml") == (0, "", "")


@pytest.mark.parametrize(
    "arguments", [["run"], ["run", "recipe.yaml", "--fast"], ["run", "recipe.yaml", "--workers=many"]]
)
def test_arguments_that_are_wrong_are_refused_once(
    arguments: list[str], rank: Callable[[int], None], understudy: Command
) -> None:
    """By rank 0; the others end without a word or an error."""
    rank(0)
    code, _, err = understudy(*arguments)
    assert code == 2
    assert "Usage: " in err

    rank(1)
    assert understudy(*arguments) == (0, "", "")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--executor=processes"], "--executor processes cannot be used with 2 ranks"),
        (
            ["--set=engine=vllm", *(f"--set={one}" for one in DECODINGS)],
            "engine vllm cannot be used with 2 ranks",
        ),
    ],
)
def test_what_ranks_cannot_do_is_refused(
    options: list[str], sentence: str, rank: Callable[[int], None], project: Path, understudy: Command
) -> None:
    """Another executor, because the ranks are the executor; and an engine that has ranks of its own."""
    rank(0)
    code, _, err = understudy("run", project / "recipe.yaml", *options)

    assert code == 1
    assert sentence in err


def test_a_rank_that_is_none_is_refused(
    rank: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, understudy: Command
) -> None:
    """The sentence has the variables."""
    rank(0)
    monkeypatch.setenv("WORLD_SIZE", "zero")
    code, _, err = understudy("methods")

    assert code == 1
    assert "RANK=0, WORLD_SIZE=zero, LOCAL_RANK=0" in err
