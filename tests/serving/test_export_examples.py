"""The example programs of exports, without a network."""

import runpy
import sys
from pathlib import Path

import pytest

from understudy.serving.export_examples import example_of


@pytest.mark.parametrize(
    ("name", "is_encoder_decoder"), [("hf", True), ("hf", False), ("ct2", True), ("ct2", False), ("gguf", False)]
)
@pytest.mark.parametrize("arguments", [[], ["a", "source"]])
def test_without_one_source_an_example_says_how_to_call_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, arguments: list[str], *, is_encoder_decoder: bool
) -> None:
    """One line on stderr and exit code 1, which is what a text as the exit status means."""
    program = tmp_path / "example.py"
    program.write_text(example_of(name, is_encoder_decoder=is_encoder_decoder))
    monkeypatch.setattr(sys, "argv", ["example.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(program), run_name="__main__")
    assert stop.value.code == 'usage: python example.py "a source"'
