import json
from pathlib import Path

import pytest

from understudy.errors import DataError
from understudy.records import Example
from understudy.tasks.kd4gen import load_kd4gen

TRAIN = {"text": ["a", "b"], "target": ["A", "B"]}
TEST = {"text": ["t"], "target": ["T"]}


def written(tmp_path: Path, content: object) -> Path:
    """The path of a file with this content as JSON, or with exactly this text."""
    path = tmp_path / "data.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("dev", ["dev", "validation"])
def test_its_splits_become_the_splits_of_a_task(tmp_path: Path, dev: str) -> None:
    """`train` is labeled, `validation` is dev, and unlabeled inputs need no targets."""
    path = written(
        tmp_path,
        {"train": TRAIN, dev: TEST, "test": {"text": ["x"], "target": [["X", "Y"]]}, "unlabeled": {"text": ["u"]}},
    )
    data = load_kd4gen(path).data

    assert data.labeled == (Example("labeled-1", "a", ("A",)), Example("labeled-2", "b", ("B",)))
    assert data.unlabeled == (Example("unlabeled-1", "u"),)
    assert data.dev == (Example("dev-1", "t", ("T",)),)
    assert data.test == (Example("test-1", "x", ("X", "Y")),)


def test_labels_are_withheld_as_for_files(tmp_path: Path) -> None:
    """One labeled input stays, the other becomes unlabeled."""
    data = load_kd4gen(written(tmp_path, {"train": TRAIN, "dev": TEST, "test": TEST}), labeled_inputs=1).data

    assert (len(data.labeled), len(data.unlabeled), len(data.withheld)) == (1, 1, 1)


REFUSED = {
    "lengths": (
        {"train": {"text": ["a", "b"], "target": ["A"]}, "dev": TEST, "test": TEST},
        r"'train': .*2 under 'text', 1 under 'target'.*same length",
    ),
    "no lists": ({"train": ["a"], "dev": TEST, "test": TEST}, r"split 'train': not an object of lists"),
    "no test": ({"train": TRAIN}, r"\['train'\].*'test', one of 'dev', 'validation'"),
    "no dev": (
        {"train": TRAIN, "test": TRAIN},
        r"\['train', 'test'\].*one of 'dev', 'validation'",
    ),
    "unknown split": ({"trian": TRAIN, "dev": TEST, "test": TEST}, r"'trian'.*known: train, dev"),
    "two devs": (
        {"train": TRAIN, "test": TEST, "dev": TEST, "validation": TEST},
        r"both 'dev' and 'validation'",
    ),
    "empty text": (
        {"train": {"text": [""], "target": ["A"]}, "dev": TEST, "test": TEST},
        r"split 'train' item 1: 'text' is empty",
    ),
    "empty split": (
        {"train": {"text": [], "target": []}, "dev": TEST, "test": TEST},
        r"split 'train': .*no records",
    ),
    "no text": (
        {"train": {"source": ["a"], "target": ["A"]}, "dev": TEST, "test": TEST},
        r"item 1: .*'text', found: source, target",
    ),
    "list": ([], r"found a JSON list"),
    "malformed": ("{", r"data\.json: malformed JSON .*column 2"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, content: object, message: str) -> None:
    """The message has the file, the split, what was found, and a remedy."""
    with pytest.raises(DataError, match=message):
        load_kd4gen(written(tmp_path, content))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The message names the path and the folder where relative paths start."""
    with pytest.raises(DataError, match=r"data\.json: no such file.*recipe's folder"):
        load_kd4gen(tmp_path / "data.json")


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    """The message has the byte and its position."""
    path = tmp_path / "data.json"
    path.write_bytes(b'{"\xfc')

    with pytest.raises(DataError, match=r"data\.json line 1: byte 0xfc at offset 2.*UTF-8"):
        load_kd4gen(path)
