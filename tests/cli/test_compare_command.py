"""The command compare: what it prints, and the exit codes that continuous integration reads."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """A candidate whose outputs are right, an old system whose outputs are not, and the references of both."""
    rows = [{"id": str(i), "source": f"room {i}", "target": f"the room number {i} is free today"} for i in range(12)]
    for name, text in {"new": "the room number {} is free today", "old": "a room {} is not free"}.items():
        lines = [json.dumps({"id": row["id"], "text": text.format(row["id"])}) for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [str(tmp_path / "new.jsonl"), str(tmp_path / "old.jsonl"), "--references", str(tmp_path / "test.jsonl")]


def test_requirements_decide_the_exit_code(understudy: Command, files: list[str], tmp_path: Path) -> None:
    """0 where all hold, 3 where one does not, and both judgements are printed; the page is there in both cases."""
    out = tmp_path / "page"
    code, text, _ = understudy("compare", *files, "--out", out, "--require", "bleu >= old + 5", "--require", "empty<=0")
    assert code == 0
    assert "new meets all 2 requirements." in text
    assert "bleu >= old + 5  holds: 100.00 against" in text
    assert "point estimate holds, interval holds" in text
    assert {path.name for path in out.iterdir()} == {"comparison.html", "comparison.json"}

    code, text, _ = understudy("compare", *files, "--out", out, "--require", "bleu >= old + 99", "--quiet")
    assert code == 3
    assert "bleu >= old + 99  does not hold" in text
    assert json.loads((out / "comparison.json").read_text())["holds"] is False


def test_without_requirements_a_comparison_succeeds(understudy: Command, files: list[str], tmp_path: Path) -> None:
    """Whatever the difference."""
    files[:2] = reversed(files[:2])
    code, text, _ = understudy("compare", *files, "--out", tmp_path / "page", "--metric", "exact_match")
    assert code == 0
    assert "old scores 0.000 in Exact match; advantage" in text or "old scores 0.00 in Exact match; advantage" in text


def test_an_error_is_neither(understudy: Command, files: list[str], tmp_path: Path) -> None:
    """A requirement that is none has exit code 1 and one sentence, and writes nothing."""
    code, _, error = understudy("compare", *files, "--out", tmp_path / "page", "--require", "bleu => old")
    assert code == 1
    assert error.splitlines()[-1].startswith("understudy: requirement 'bleu => old', column 6: expected >=")
    assert not (tmp_path / "page").exists()
