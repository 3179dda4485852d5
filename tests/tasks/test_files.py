import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from understudy.config.task import Fields
from understudy.errors import DataError
from understudy.records import Example
from understudy.tasks.files import load_files, read_examples

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes rows as JSON lines."""

    def write_rows(name: str, *rows: Mapping[str, object]) -> Path:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write_rows


def pairs(*names: str) -> list[dict[str, object]]:
    """Rows whose target is their source in capitals."""
    return [{"source": name, "target": name.upper()} for name in names]


def test_one_or_several_targets_are_read_from_either_field(write: Write) -> None:
    """A text, a list under `target` and a list under `targets` all become targets."""
    path = write(
        "dev",
        {"source": "a", "target": "1"},
        {"source": "b", "target": ["1", "2"]},
        {"source": "c", "targets": ["1", "2"], "target": None},
    )

    assert [example.targets for example in read_examples(path, split="dev", labeled=True)] == [
        ("1",),
        ("1", "2"),
        ("1", "2"),
    ]


def test_ids_are_kept_or_made_from_split_and_line(write: Write) -> None:
    """Numbers are valid ids; a record without an id gets one from split and line."""
    path = write("x", {"id": 7, "source": "a"}, {"id": "k", "source": "b"}, {"source": "c"})

    assert [example.id for example in read_examples(path, split="unlabeled", labeled=False)] == [
        "7",
        "k",
        "unlabeled-3",
    ]


def test_fields_may_have_other_names(write: Write) -> None:
    """A file of another corpus is read as it is; id None generates ids."""
    path = write("x", {"id": "same", "document": "a", "summary": "1"}, {"id": "same", "document": "b", "summary": "2"})
    fields = Fields(source="document", target="summary", id=None)

    assert read_examples(path, split="train", labeled=True, fields=fields) == (
        Example("train-1", "a", ("1",)),
        Example("train-2", "b", ("2",)),
    )


def test_records_of_equal_source_become_one_example(write: Write) -> None:
    """The first id and the order are kept, a repeated target is kept once, and both are counted."""
    rows = ("a", "1"), ("b", "1"), ("a", "2"), ("a", "1")
    path = write("labeled", *({"source": source, "target": target} for source, target in rows))
    loaded = load_files(labeled=path, test=write("test", *pairs("t")))

    assert loaded.data.labeled == (Example("labeled-1", "a", ("1", "2")), Example("labeled-2", "b", ("1",)))
    assert loaded.facts == {"merged": 2, "repeated": 1, "shared": 0}


def test_targets_of_unlabeled_inputs_are_not_read(write: Write) -> None:
    """Even an invalid target is no error where labels are not read."""
    path = write("unlabeled", {"source": "a", "target": 5})

    assert read_examples(path, split="unlabeled", labeled=False) == (Example("unlabeled-1", "a"),)


def test_labels_are_withheld_by_seed(write: Write) -> None:
    """Labeled and withheld examples partition the file; the withheld are unlabeled inputs with the same ids."""
    labeled, test = write("labeled", *pairs(*"abcdefghij")), write("test", *pairs("t"))
    everything = load_files(labeled=labeled, test=test).data.labeled
    data = load_files(labeled=labeled, test=test, labeled_inputs=4, seed=1).data

    assert len(data.labeled) == 4
    assert sorted([*data.labeled, *data.withheld], key=everything.index) == list(everything)
    assert data.unlabeled == tuple(Example(example.id, example.source) for example in data.withheld)
    assert data == load_files(labeled=labeled, test=test, labeled_inputs=4, seed=1).data
    assert data != load_files(labeled=labeled, test=test, labeled_inputs=4, seed=2).data


def test_a_larger_number_of_labels_contains_a_smaller_one(write: Write) -> None:
    """Curves over the number of labels use nested sets."""
    labeled, test = write("labeled", *pairs(*"abcdefghij")), write("test", *pairs("t"))
    few, many = (load_files(labeled=labeled, test=test, labeled_inputs=count, seed=3).data.labeled for count in (3, 6))

    assert set(few) < set(many)


def test_fewer_unlabeled_inputs_keep_all_withheld_labels(write: Write) -> None:
    """The inputs are nested subsets; the teacher keeps all withheld labels."""
    labeled, test = write("labeled", *pairs(*"abcdefghij")), write("test", *pairs("t"))
    few, many, all_ = (
        load_files(labeled=labeled, test=test, labeled_inputs=4, unlabeled_inputs=count, seed=3).data
        for count in (2, 5, None)
    )

    assert (len(few.unlabeled), len(many.unlabeled), len(all_.unlabeled)) == (2, 5, 6)
    assert set(few.unlabeled) < set(many.unlabeled) < set(all_.unlabeled)
    assert few.withheld == many.withheld == all_.withheld


def test_unlabeled_inputs_that_are_labeled_or_repeated_are_dropped_and_counted(write: Write) -> None:
    """White space and case do not distinguish inputs."""
    unlabeled = write("unlabeled", {"source": " A"}, {"source": "u"}, {"source": "U "})
    loaded = load_files(labeled=write("labeled", *pairs("a")), unlabeled=unlabeled, test=write("test", *pairs("t")))

    assert loaded.data.unlabeled == (Example("unlabeled-2", "u"),)
    assert loaded.facts["shared"] == 2


REFUSED = {
    "no source": ({"sorce": "a", "target": "b"}, r"line 2: .*'source', found: sorce, target.*'sorce'\?"),
    "no near name": ({"x": "a"}, r"line 2: .*'source', found: x.*task\.fields\.source"),
    "names that are no words": (
        {"x" * 99: 1, "a\x1b[31m": 2, **{str(i): 0 for i in range(99)}},
        r"line 2: no 'source', found: x{40}\.\.\., 'a\\x1b\[31m', 0, .*, 17, \.\.\.; task",
    ),
    "no target": ({"source": "a"}, r"line 2: .*'target', found: source.*task\.fields\.target"),
    "empty source": ({"source": " ", "target": "b"}, r"line 2: 'source' is empty.*remove"),
    "empty target": ({"source": "a", "target": "\n"}, r"line 2: 'target' is empty.*remove"),
    "empty list": ({"source": "a", "target": []}, r"line 2: 'target' is an empty list"),
    "null": ({"source": "a", "target": None}, r"line 2: 'target' is null.*unlabeled"),
    "number": ({"source": "a", "target": 3}, r"line 2: 'target' is 3, a int.*text"),
    "number in list": ({"source": "a", "targets": ["b", 3]}, r"line 2: 'targets' is 3, a int.*text"),
    "both": ({"source": "a", "target": "b", "targets": ["c"]}, r"line 2: .*both 'target' and 'targets'"),
    "half a character": (
        {"source": "cut \ud83d", "target": "b"},
        r"line 2: 'source' holds '\\ud83d', half of a character",
    ),
    "an enormous id": (
        {"id": 10**4000, "source": "a", "target": "b"},
        r"line 2: 'id' is a number of 4001 digits; an id has at most 100",
    ),
    "half a character as id": (
        {"id": "\ud83d", "source": "a", "target": "b"},
        r"line 2: 'id' holds '\\ud83d', half of a character",
    ),
    "a zero character": ({"source": "a\0b", "target": "b"}, r"line 2: 'source' contains a zero character"),
    "a printed list": (
        {"source": "a", "targets": "['b', 'c']"},
        r"line 2: 'targets' is the text of a list, .*one row for each target under 'target'.*\"targets\": \[",
    ),
    "list as id": ({"id": [], "source": "a", "target": "b"}, r"line 2: 'id' is \[\].*text or a whole"),
    "id used before": ({"id": "1", "source": "a", "target": "b"}, r"line 2: id '1'.*another source.*task\.fields\.id"),
}


@pytest.mark.parametrize(("row", "message"), REFUSED.values(), ids=REFUSED)
def test_an_invalid_record_is_refused(write: Write, row: Mapping[str, object], message: str) -> None:
    """The message has the file, the line, what was found, and a remedy."""
    path = write("train", {"id": "1", "source": "first", "target": "first"}, row)

    with pytest.raises(DataError, match=r"train\.jsonl " + message):
        read_examples(path, split="labeled", labeled=True)


def test_a_printed_list_in_a_table_is_refused_and_other_brackets_are_text(tmp_path: Path) -> None:
    """Pandas writes lists so; they would be read as one target. A text in brackets is a target."""
    path = tmp_path / "train.csv"
    path.write_text("source,targets\na,[sic] b\nb,[1]\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.csv line 3: 'targets' is the text of a list, '\[1\]'"):
        read_examples(path, split="labeled", labeled=True)

    path.write_text("source,targets\na,[sic] b]\n", encoding="utf-8")
    assert read_examples(path, split="labeled", labeled=True)[0].targets == ("[sic] b]",)


def test_an_empty_file_is_refused(write: Write) -> None:
    """A split that is given must have a record."""
    with pytest.raises(DataError, match=r"dev\.jsonl: .*no records.*dev"):
        read_examples(write("dev"), split="dev", labeled=True)


def test_a_task_without_inputs_is_refused(write: Write) -> None:
    """Labeled or unlabeled inputs must be given."""
    with pytest.raises(DataError, match="neither a labeled nor an unlabeled file"):
        load_files(test=write("test", *pairs("t")))


def test_one_id_for_two_sources_of_different_splits_is_refused(write: Write) -> None:
    """Pseudo-targets refer to their input by its id."""
    labeled, test = write("labeled", {"id": 1, **pairs("a")[0]}), write("test", {"id": 1, **pairs("t")[0]})

    with pytest.raises(DataError, match=r"id '1' .*labeled.*test.*unique"):
        load_files(labeled=labeled, test=test)


@pytest.mark.parametrize("count", [0, 3])
def test_more_labels_than_there_are_cannot_be_kept(write: Write, count: int) -> None:
    """The message has the setting, its value and the number of sources."""
    with pytest.raises(DataError, match=rf"task\.labeled_inputs is {count}, found 2 .*1 to 2"):
        load_files(labeled=write("labeled", *pairs("a", "b")), test=write("test", *pairs("t")), labeled_inputs=count)


def test_more_unlabeled_inputs_than_there_are_cannot_be_drawn(write: Write) -> None:
    """The message has the setting, its value and the number of sources."""
    labeled, test = write("labeled", *pairs("a", "b")), write("test", *pairs("t"))

    with pytest.raises(DataError, match=r"task\.unlabeled_inputs is 2, found 1 "):
        load_files(labeled=labeled, test=test, labeled_inputs=1, unlabeled_inputs=2)
