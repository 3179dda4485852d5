"""What is no readable UTF-8 file: each kind is refused in one sentence that names the file and the remedy."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from understudy.errors import DataError
from understudy.tasks.file_formats import read_records
from understudy.tasks.text_lines import check_file

NOBODY = 65534
LINE = '{"source": "é", "target": "ü"}\n'
ENCODED = {
    "Windows-1252": (LINE.encode("cp1252"), r"t\.jsonl line 1: byte 0xe9 at offset 12 is not UTF-8.*iconv"),
    "Windows-1252, later": (
        b"{}\n" * 3 + LINE.encode("cp1252"),
        r"t\.jsonl line 4: byte 0xe9 at offset 21 is not UTF-8.*WINDOWS-1252",
    ),
    "UTF-16": (LINE.encode("utf-16"), r"t\.jsonl: byte 0xff at offset 0 .*UTF-16; convert.*iconv -f UTF-16 -t UTF-8"),
    "UTF-16 without a mark": (LINE.encode("utf-16-le"), r"line 1: byte 0x00 at offset 1,.*from UTF-16 to UTF-8"),
    "UTF-32": (LINE.encode("utf-32"), r"byte 0xff at offset 0 .*UTF-32"),
    "a zero byte": (
        LINE.encode() + b'{"source": "a long text with one\0zero"}',
        r"line 2: byte 0x00 at offset 65, .*remove it",
    ),
    "half a character": (LINE.encode()[:13], r"line 1: byte 0xc3 at offset 12 is not UTF-8"),
}


@pytest.mark.parametrize(("content", "message"), ENCODED.values(), ids=ENCODED)
def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """The message has the file, the byte's offset in the file, and the encoding to convert to."""
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)

    with pytest.raises(DataError, match=message) as refused:
        list(read_records(path))
    offset = int(re.findall(r"offset (\d+)", str(refused.value))[0])
    byte = int(re.findall(r"byte (0x..)", str(refused.value))[0], 16)
    assert content[offset] == byte


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.csv", "t.tsv"])
def test_a_byte_order_mark_is_read_over(tmp_path: Path, name: str) -> None:
    """Editors on Windows write one before UTF-8; it is not part of the first key or column name."""
    text = {"t.jsonl": '{"source": "a"}', "t.json": '[{"source": "a"}]'}.get(name, "source\na\n")
    (tmp_path / name).write_text(text, encoding="utf-8-sig")

    assert [record.values for record in read_records(tmp_path / name)] == [{"source": "a"}]


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.tsv"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n", "\n\r\n  \n\n"])
def test_blank_lines_at_the_end_are_no_records(tmp_path: Path, name: str, end: str) -> None:
    """Editors and exports leave them; the last record needs no line end."""
    text = '{"source": "a"}\n{"source": "b"}' if name == "t.jsonl" else "source\na\nb"
    (tmp_path / name).write_bytes((text + end).encode())

    assert [record.values for record in read_records(tmp_path / name)] == [{"source": "a"}, {"source": "b"}]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0c", "\r"])
@pytest.mark.parametrize("name", ["t.jsonl", "t.tsv"])
def test_rare_separators_end_no_line(tmp_path: Path, name: str, separator: str) -> None:
    """Only a line feed does: the others occur inside texts."""
    value = f"a{separator}b"
    escaped = "\\r" if separator == "\r" else separator  # JSON has no raw control characters
    text = f'{{"source": "a{escaped}b"}}\n' if name == "t.jsonl" else f"source\n{value}\nc\n"
    (tmp_path / name).write_bytes(text.replace("\x0c", "\\f" if name == "t.jsonl" else "\x0c").encode())

    assert next(read_records(tmp_path / name)).values == {"source": value}


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """It is not answered with "no such file"."""
    (tmp_path / "t.jsonl").mkdir()

    with pytest.raises(DataError, match=r"t\.jsonl: is a folder; name a file"):
        list(read_records(tmp_path / "t.jsonl"))


def test_a_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """The message has the system's reason and the beginning of the path."""
    with pytest.raises(DataError, match=r"File name too long") as refused:
        check_file(tmp_path / f"{'x' * 5000}.jsonl")
    assert len(str(refused.value)) < 400


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Runs a test without the rights of root, who can open every file."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(user)


def test_a_file_without_permission_is_refused(tmp_path: Path, as_nobody: None) -> None:
    """The message has the path and the system's reason; here its folder lets nobody in."""
    user = os.geteuid()
    os.seteuid(0) if user == NOBODY else None
    path = tmp_path / "t.jsonl"
    path.write_text(LINE, encoding="utf-8")
    path.chmod(0)
    os.seteuid(user)

    with pytest.raises(DataError, match=r"t\.jsonl: cannot be read \(Permission denied\).*permissions"):
        list(read_records(path))


def test_a_file_whose_bytes_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """It opens, and reading it fails."""
    (tmp_path / "t.jsonl").symlink_to("/proc/self/mem")

    with pytest.raises(DataError, match=r"t\.jsonl: cannot be read \(Input/output error\)"):
        list(read_records(tmp_path / "t.jsonl"))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """Nobody writes into it, so opening it would never end."""
    os.mkfifo(tmp_path / "t.jsonl")
    with pytest.raises(DataError, match=r"t\.jsonl: is a pipe or a device.*save them as a file"):
        check_file(tmp_path / "t.jsonl")
