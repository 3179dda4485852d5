import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
import pytest

from understudy.config.task import Hub
from understudy.errors import DataError
from understudy.records import Example
from understudy.tasks.hub import first_words, load_hub

SPLITS = {"labeled": "train[:2]", "unlabeled": "train[2:]", "dev": "validation[:1]", "test": "validation[1:]"}
SOURCE, TARGET = "{context}; answer: {answers.text[0]}", "{question}"


def squad(number: int, **other: object) -> dict[str, Any]:
    """A row in SQuAD's layout."""
    answers = {"text": [f"a{number}", f"b{number}"], "answer_start": [0, 1]}
    return {"id": str(number), "context": f"c{number}", "question": f"q{number}", "answers": answers, **other}


def folder(tmp_path: Path, train: Iterable[dict[str, Any]] | None = None) -> Path:
    """A data set as a local folder: four rows of train, three of validation."""
    rows = {"train": list(train or map(squad, range(4))), "validation": [squad(number) for number in range(7, 10)]}
    (tmp_path / "own").mkdir()
    for split, own in rows.items():
        (tmp_path / "own" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    return tmp_path / "own"


def asked(dataset: Path | str, **other: object) -> Hub:
    """The section that asks for it."""
    return Hub.model_validate(
        {"dataset": str(dataset), "splits": SPLITS, "source": SOURCE, "target": TARGET, **other},
    )


def test_columns_become_sources_and_targets(tmp_path: Path) -> None:
    """Splits are parts of the data set's splits; ids are made from split and row; unlabelled inputs have no target."""
    data = load_hub(asked(folder(tmp_path))).data

    assert data.labeled == (
        Example("labeled-1", "c0; answer: a0", ("q0",)),
        Example("labeled-2", "c1; answer: a1", ("q1",)),
    )
    assert data.unlabeled == (Example("unlabeled-1", "c2; answer: a2"), Example("unlabeled-2", "c3; answer: a3"))
    assert [example.source for example in (*data.dev, *data.test)] == [f"c{n}; answer: a{n}" for n in (7, 8, 9)]


def test_labels_are_hidden_as_in_files(tmp_path: Path) -> None:
    """So many inputs keep theirs, so many of the others are taught."""
    splits = {"labeled": "train", "dev": "validation[:1]", "test": "validation[1:]"}
    data = load_hub(asked(folder(tmp_path), splits=splits), labeled_inputs=1, unlabeled_inputs=2, seed=3).data

    assert (len(data.labeled), len(data.unlabeled), len(data.withheld)) == (1, 2, 3)


def test_rows_of_equal_source_are_merged(tmp_path: Path) -> None:
    """Two questions with one answer are two targets of one input."""
    rows = [squad(0), squad(0, question="another"), squad(1), squad(2)]
    done = load_hub(asked(folder(tmp_path, rows)))

    assert done.data.labeled == (Example("labeled-1", "c0; answer: a0", ("q0", "another")),)
    assert done.facts == {"merged": 1, "repeated": 0, "shared": 0, "incomplete": 0}


def test_numbers_are_texts_too(tmp_path: Path) -> None:
    """A whole number is written out."""
    own = folder(tmp_path)

    assert load_hub(asked(own, source="{answers.answer_start[1]} {context}")).data.labeled[0].source == "1 c0"


def test_a_file_that_is_broken_is_said(tmp_path: Path) -> None:
    """With the reason below the library's own, which only says that there is one."""
    own = folder(tmp_path)
    (own / "train.jsonl").write_text('{"context": ')

    with pytest.raises(DataError, match=r"cannot read train\[:2\], .*own': .*JSON.*; name a data set"):
        load_hub(asked(own))


@pytest.mark.parametrize(
    "other", [{"context": " "}, {"context": None}, {"answers": {"text": [], "answer_start": []}}, {"question": ""}]
)
def test_rows_that_lack_something_are_refused_or_dropped(tmp_path: Path, other: dict[str, Any]) -> None:
    """An empty text, none, and an empty list alike; on request they are left out and counted."""
    own = folder(tmp_path, [squad(0, **other), squad(1), squad(2), squad(3)])

    with pytest.raises(DataError, match=r"train\[:2\] row 1: there is nothing at \{.*task\.hub\.incomplete=drop"):
        load_hub(asked(own))
    done = load_hub(asked(own, incomplete="drop"))
    assert [example.targets for example in done.data.labeled] == [("q1",)]
    assert done.facts["incomplete"] == 1


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"source": "{contxt}"}, r"train\[:2\]: no column 'contxt', found: id, context, .*did you mean 'context'\? "),
        ({"target": "{qst}"}, r"no column 'qst'.*; task\.hub\.target names the columns"),
        ({"target": "{answers}"}, r"row 1: \{answers\} is \{'text'.*a dict; it must be .*name one of its parts"),
        ({"source": "{answers[0]}"}, r"row 1: \{answers\[0\]\} looks for 0 in a dict, .*write \{name\.key\} for a key"),
        ({"source": "{answers.texts}"}, r"row 1: \{answers\.texts\} looks for 'texts' in a dict"),
        ({"source": "{context.text}"}, r"row 1: \{context\.text\} looks for 'text' in a str, 'c0'"),
        ({"splits": {**SPLITS, "dev": "dev"}}, r"cannot read .*, dev, .*: Unknown split \"dev\".*; name a data set"),
        ({"splits": {**SPLITS, "dev": "validation[x]"}}, r"Unrecognized instruction format: validation\[x\]; "),
        ({"splits": {**SPLITS, "test": "validation[9:]"}}, r"\"validation\[9:\]\" corresponds to no data; "),
        ({"config": "other"}, r"the data set '.*own', config other: BuilderConfig 'other' not found"),
        ({"revision": "main"}, r"task\.hub\.revision is 'main', but .*own is a local folder, which has no revisions"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_data_set_is_said(tmp_path: Path, other: dict[str, Any], sentence: str) -> None:
    """Each finding with the place, what is there and what to do."""
    with pytest.raises(DataError, match=sentence):
        load_hub(asked(folder(tmp_path), **other))


def test_no_code_of_a_data_set_is_run(tmp_path: Path) -> None:
    """A script beside the data is refused, and where its data may be had without it is said."""
    own = folder(tmp_path)
    (own / "own.py").write_text("raise SystemExit('run')")

    with pytest.raises(DataError, match=r"scripts are no longer supported.*task\.hub\.revision=refs/convert/parquet"):
        load_hub(asked(own))


def test_a_hub_out_of_reach_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In one sentence with the name, the revision and the way without the hub."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)

    with pytest.raises(DataError, match=r"the data set 'nobody/nothing', revision v1: .*local files") as refused:
        load_hub(asked("nobody/nothing", revision="v1"))
    assert "\n" not in str(refused.value)


def test_the_library_is_an_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without it the message says what to install."""
    monkeypatch.setitem(sys.modules, "datasets", None)

    with pytest.raises(DataError, match=r"not installed; pip install 'understudy\[hub\]'"):
        load_hub(asked(folder(tmp_path)))


def test_nothing_is_left_behind_or_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A local folder is read, not copied into it; progress belongs to the command line."""
    own = folder(tmp_path)
    before = sorted(own.rglob("*"))
    load_hub(asked(own))

    assert sorted(own.rglob("*")) == before
    assert capfd.readouterr() == ("", "")


def test_the_first_words_keep_their_white_space() -> None:
    """A line break between words is not lost, and a text that is shorter stays whole."""
    assert first_words("one\ntwo  three four", 3) == "one\ntwo  three"
    assert first_words("one two", 3) == "one two"
    assert first_words("one two", None) == "one two"
