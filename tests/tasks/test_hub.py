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
    """A row in the layout of SQuAD."""
    answers = {"text": [f"a{number}", f"b{number}"], "answer_start": [0, 1]}
    return {"id": str(number), "context": f"c{number}", "question": f"q{number}", "answers": answers, **other}


def folder(tmp_path: Path, train: Iterable[dict[str, Any]] | None = None) -> Path:
    """A dataset as a local folder: four rows of train, three of validation."""
    rows = {"train": list(train or map(squad, range(4))), "validation": [squad(number) for number in range(7, 10)]}
    (tmp_path / "own").mkdir()
    for split, own in rows.items():
        (tmp_path / "own" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    return tmp_path / "own"


def settings(dataset: Path | str, **other: object) -> Hub:
    """The section `task.hub` for it."""
    return Hub.model_validate(
        {"dataset": str(dataset), "splits": SPLITS, "source": SOURCE, "target": TARGET, **other},
    )


def test_columns_become_sources_and_targets(tmp_path: Path) -> None:
    """Splits are slices of the dataset's splits; ids are made of split and row; unlabeled inputs have no target."""
    data = load_hub(settings(folder(tmp_path))).data

    assert data.labeled == (
        Example("labeled-1", "c0; answer: a0", ("q0",)),
        Example("labeled-2", "c1; answer: a1", ("q1",)),
    )
    assert data.unlabeled == (Example("unlabeled-1", "c2; answer: a2"), Example("unlabeled-2", "c3; answer: a3"))
    assert [example.source for example in (*data.dev, *data.test)] == [f"c{n}; answer: a{n}" for n in (7, 8, 9)]


def test_labels_are_withheld_as_for_files(tmp_path: Path) -> None:
    """One input keeps its label, two of the others are unlabeled inputs."""
    splits = {"labeled": "train", "dev": "validation[:1]", "test": "validation[1:]"}
    data = load_hub(settings(folder(tmp_path), splits=splits), labeled_inputs=1, unlabeled_inputs=2, seed=3).data

    assert (len(data.labeled), len(data.unlabeled), len(data.withheld)) == (1, 2, 3)


CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SYSTEM = [{"role": "system", "content": "Be brief."}]


def test_messages_are_chosen_by_role(tmp_path: Path) -> None:
    """With and without a system turn the user's message is the source and the answer the target."""
    rows = [{"messages": chat} for chat in (CHAT, SYSTEM + CHAT, CHAT[:1] + CHAT)]
    own = folder(tmp_path, rows)
    (own / "validation.jsonl").write_text("".join(json.dumps({"messages": CHAT}) + "\n" for _ in range(3)))
    roles = {"source": "{messages[user].content}", "target": "{messages[assistant].content}"}
    splits = {"labeled": "train", "dev": "validation[:1]", "test": "validation[1:]"}

    assert load_hub(settings(own, splits=splits, **roles)).data.labeled == (Example("labeled-1", "q", ("a",)),)
    with pytest.raises(
        DataError, match=r"row 2: \{messages\[0\]\.content\} is a system turn.*\{messages\[user\]\.content"
    ):
        load_hub(settings(own, splits=splits, **roles | {"source": "{messages[0].content}"}))


def test_rows_of_equal_source_are_merged(tmp_path: Path) -> None:
    """Two questions with one answer are two targets of one input."""
    rows = [squad(0), squad(0, question="another"), squad(1), squad(2)]
    done = load_hub(settings(folder(tmp_path, rows)))

    assert done.data.labeled == (Example("labeled-1", "c0; answer: a0", ("q0", "another")),)
    assert done.facts == {"merged": 1, "repeated": 0, "shared": 0, "incomplete": 0}


def test_whole_numbers_become_text(tmp_path: Path) -> None:
    """A column of numbers can be part of a template."""
    own = folder(tmp_path)

    assert load_hub(settings(own, source="{answers.answer_start[1]} {context}")).data.labeled[0].source == "1 c0"


def test_a_broken_file_is_refused_with_its_cause(tmp_path: Path) -> None:
    """The message has the cause of the library's error, whose own message only refers to it."""
    own = folder(tmp_path)
    (own / "train.jsonl").write_text('{"context": ')

    with pytest.raises(DataError, match=r"train\[:2\], .*own': .*JSON.*names of the dataset"):
        load_hub(settings(own))


@pytest.mark.parametrize(
    "other", [{"context": " "}, {"context": None}, {"answers": {"text": [], "answer_start": []}}, {"question": ""}]
)
def test_incomplete_rows_are_refused_or_dropped(tmp_path: Path, other: dict[str, Any]) -> None:
    """Blank, null and empty-list values are refused; with incomplete=drop the rows are dropped and counted."""
    own = folder(tmp_path, [squad(0, **other), squad(1), squad(2), squad(3)])

    with pytest.raises(DataError, match=r"train\[:2\] row 1: \{.*empty.*task\.hub\.incomplete=drop"):
        load_hub(settings(own))
    done = load_hub(settings(own, incomplete="drop"))
    assert [example.targets for example in done.data.labeled] == [("q1",)]
    assert done.facts["incomplete"] == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"source": "{contxt}"}, r"train\[:2\]: no column 'contxt', found: id, context, .*'context'"),
        ({"target": "{qst}"}, r"no column 'qst'.*task\.hub\.target"),
        ({"target": "{answers}"}, r"row 1: \{answers\} is \{'text'.*a dict.*name one of its parts"),
        ({"source": "{answers[0]}"}, r"row 1: \{answers\[0\]\} needs 0, but found a dict, .*\{name\.key\} for a key"),
        ({"source": "{answers.texts}"}, r"row 1: \{answers\.texts\} needs 'texts', but found a dict"),
        ({"source": "{context.text}"}, r"row 1: \{context\.text\} needs 'text', but found a str, 'c0'"),
        ({"splits": {**SPLITS, "dev": "dev"}}, r"dev, .*: Unknown split \"dev\".*names of the dataset and its splits"),
        ({"splits": {**SPLITS, "dev": "validation[x]"}}, r"Unrecognized instruction format: validation\[x\]; "),
        ({"splits": {**SPLITS, "test": "validation[9:]"}}, r"\"validation\[9:\]\" corresponds to no data; "),
        ({"config": "other"}, r"'.*own', config other: BuilderConfig 'other' not found"),
        ({"revision": "main"}, r"task\.hub\.revision is 'main', but .*own is a local folder.*null"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_the_dataset_are_refused(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    """The message has the position, what was found, and a remedy."""
    with pytest.raises(DataError, match=message):
        load_hub(settings(folder(tmp_path), **other))


def test_code_in_a_dataset_never_runs(tmp_path: Path) -> None:
    """A loading script is refused, and the message names the revision without scripts."""
    own = folder(tmp_path)
    (own / "own.py").write_text("raise SystemExit('run')")

    with pytest.raises(DataError, match=r"scripts are no longer supported.*task\.hub\.revision=refs/convert/parquet"):
        load_hub(settings(own))


def test_an_unreachable_hub_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The message has one line with the dataset, the revision and the alternative without the hub."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)

    with pytest.raises(DataError, match=r"'nobody/nothing', revision v1: .*local files") as refused:
        load_hub(settings("nobody/nothing", revision="v1"))
    assert "\n" not in str(refused.value)


def test_a_missing_library_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The message has the command that installs it."""
    monkeypatch.setitem(sys.modules, "datasets", None)

    with pytest.raises(DataError, match=r"not installed; pip install 'understudy\[hub\]'"):
        load_hub(settings(folder(tmp_path)))


def test_nothing_is_left_behind_or_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A local folder gets no cache files, and the library's progress bars are off."""
    own = folder(tmp_path)
    before = sorted(own.rglob("*"))
    load_hub(settings(own))

    assert sorted(own.rglob("*")) == before
    assert capfd.readouterr() == ("", "")


def test_the_first_words_keep_their_white_space() -> None:
    """Line breaks between words are kept, and a shorter text is unchanged."""
    assert first_words("one\ntwo  three four", 3) == "one\ntwo  three"
    assert first_words("one two", 3) == "one two"
    assert first_words("one two", None) == "one two"
