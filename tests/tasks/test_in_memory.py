"""Examples from a program: what is no example is refused where it is given, in terms of the program."""

import json
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import DataError
from understudy.records import Example
from understudy.tasks.files import load_files
from understudy.tasks.in_memory import save_examples


def test_examples_pairs_and_sources_come_back_as_they_were_given(tmp_path: Path) -> None:
    """Ids that are whole numbers are kept as texts."""
    own = ANY_EXAMPLE(7, "one", ("eins", "uno"))
    files = save_examples(tmp_path, labeled=[own, ("two", "zwei")], unlabeled=["three"], test=[("four", "vier")])
    data = load_files(**{split: Path(path) for split, path in files.items()}).data  # type: ignore[arg-type] # splits

    assert data.labeled == (Example("7", "one", ("eins", "uno")), Example("labeled-1", "two", ("zwei",)))
    assert data.unlabeled == (Example("unlabeled-0", "three"),)
    assert json.loads((tmp_path / "test.jsonl").read_text())["target"] == "vier"


NAN = float("nan")
ANY_EXAMPLE: Any = Example  # users make mistakes that mypy would see
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a number": ({"labeled": [("a", "b"), 5]}, r"labeled\[1\] is 5, a int; give an Example, a \(source, target\) pair"),
    "nothing": ({"unlabeled": [None]}, r"unlabeled\[0\] is None, a NoneType; give an Example"),
    "a mapping": ({"labeled": [{"source": "a"}]}, r"labeled\[0\] is \{'source': 'a'\}, a dict; give an Example"),
    "a triple": ({"labeled": [("a", "b", "c")]}, r"labeled\[0\] is \('a', 'b', 'c'\), a tuple; give an Example"),
    "not a number": ({"labeled": [("a", NAN)]}, r"labeled\[0\]\[1\] is nan, a float; it must be a text"),
    "no target": ({"labeled": [("a", None)]}, r"labeled\[0\]\[1\] is None, a NoneType; it must be a text"),
    "a source alone": ({"labeled": ["a"]}, r"labeled\[0\] has no target; give a \(source, target\) pair, or move"),
    "a blank source": ({"unlabeled": [" "]}, r"unlabeled\[0\] is ' ', a str; it must be a text that is not blank"),
    "half a character": ({"unlabeled": ["\ud83d"]}, r"unlabeled\[0\]: 'the text' holds '\\ud83d', half"),
    "one text": ({"unlabeled": "abc"}, r"unlabeled is 'abc', a str; give a list"),
    "no list": ({"dev": 5}, r"dev is 5, a int; give a list"),
    "targets of one text": (
        {"labeled": [ANY_EXAMPLE("1", "a", "bc")]},
        r"labeled\[0\]\.targets is 'bc', a str; give a tuple",
    ),
    "a target that is none": ({"dev": [ANY_EXAMPLE("1", "a", (None,))]}, r"dev\[0\]\.targets\[0\] is None"),
    "a source that is none": ({"test": [ANY_EXAMPLE("1", None, ("b",))]}, r"test\[0\]\.source is None"),
    "an id that is none": (
        {"test": [ANY_EXAMPLE(NAN, "a", ("b",))]},
        r"test\[0\]\.id is nan, a float; an id must be a text",
    ),
    "an enormous id": (
        {"test": [ANY_EXAMPLE(10**5000, "a", ("b",))]},
        r"test\[0\]\.id is a number of more than 100 digits",
    ),
    "an enormous number": ({"unlabeled": [10**5000]}, r"unlabeled\[0\] is a number of more than 100 digits; give"),
    "one id twice": (
        {"labeled": [ANY_EXAMPLE("1", "a", ("b",))], "dev": [ANY_EXAMPLE("1", "c", ("d",))]},
        r"dev\[0\] has the id '1' of another source, labeled\[0\]; make ids unique",
    ),
    "nothing at all": ({}, r"no example was given"),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_example_is_refused(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    """One sentence with the split and the index, which names no flag of the command line; nothing is written."""
    with pytest.raises(DataError, match="^" + message) as refused:
        save_examples(tmp_path / "data", **given)
    assert "--" not in str(refused.value)
    assert "task." not in str(refused.value)
    assert not (tmp_path / "data").exists()
