import hashlib
from pathlib import Path

import pytest

from understudy.errors import StoreError
from understudy.store.disk import READ_BYTES, checksum, checksums, publish, read_json, write_json, write_text


def test_json_reads_back(tmp_path: Path) -> None:
    """Text in any script, numbers to the last digit."""
    value = {"naïve": "日本", "number": 0.1 + 0.2, "list": [1, None]}
    write_json(tmp_path / "a.json", value)

    assert read_json(tmp_path / "a.json") == value
    assert "日本" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_equal_values_give_equal_bytes(tmp_path: Path) -> None:
    """Whatever the order in which a dict was filled."""
    write_json(tmp_path / "a.json", {"x": 1, "y": 2})
    write_json(tmp_path / "b.json", {"y": 2, "x": 1})

    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """A file is replaced whole or not at all."""
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "new \ud800")

    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"a\.json is missing"),
        (b"{", r"a\.json is not JSON \(Expecting .*\); delete the folder"),
        (b"\xff", r"a\.json is not JSON \(.*utf-8.*\); delete the folder"),
        (b"[1]", r"a\.json holds list instead of an object; delete the folder"),
    ],
)
def test_a_file_without_an_object_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    """The message names the file, what it holds and the way out."""
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)

    with pytest.raises(StoreError, match=message):
        read_json(tmp_path / "a.json")


def test_a_checksum_is_sha256(tmp_path: Path) -> None:
    """Of files longer than a block too; folders are walked."""
    content = b"understudy" * (READ_BYTES // 8)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "long.bin").write_bytes(content)
    (tmp_path / "empty").touch()

    assert checksum(tmp_path / "below" / "long.bin") == hashlib.sha256(content).hexdigest()
    assert checksums(tmp_path) == {
        "below/long.bin": hashlib.sha256(content).hexdigest(),
        "empty": hashlib.sha256(b"").hexdigest(),
    }


def test_publishing_gives_a_folder_its_name(tmp_path: Path) -> None:
    """All that is in it comes along, and nothing is left under the old name."""
    (tmp_path / "a.partial" / "below").mkdir(parents=True)
    (tmp_path / "a.partial" / "below" / "x").write_text("x")
    publish(tmp_path / "a.partial", tmp_path / "a")

    assert (tmp_path / "a" / "below" / "x").read_text() == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    """It may hold something of the user's; no temporary file is left."""
    (tmp_path / "report.json").mkdir()

    with pytest.raises(StoreError, match=r"report\.json is a folder.*move it away"):
        write_json(tmp_path / "report.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
