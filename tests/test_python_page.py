"""The example of docs/python.md runs as it stands."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")


@pytest.mark.trains
def test_the_example_of_the_python_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From examples in memory to a report, a pool and scores."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs/python.md", "exec"), {})  # noqa: S102 - our own page

    assert (tmp_path / "towns" / "runs" / "towns" / "report.html").is_file()
    printed = capsys.readouterr().out
    assert "report.html" in printed
    assert "'joint_teaching'" in printed
