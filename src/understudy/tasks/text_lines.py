"""Opens data files and decodes their lines: what cannot be opened or is not UTF-8 is refused in one sentence.

This module knows bytes and lines; `file_formats.py` knows what the lines hold.
"""

import codecs
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from understudy.errors import DataError

MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # begins with the mark of UTF-16, so it is tried first
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
"""Byte order mark -> the encoding that writes it."""
LONGEST_PATH = 200
"""Characters of a path that cannot be opened that a message shows."""
UTF16_ZEROS = 0.25
"""Share of zero bytes in a line above which a file without a mark is taken for UTF-16: English has one half."""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file opened for reading bytes.

    Raises:
        DataError: if there is no such file, it is a folder, or it cannot be read.
    """
    try:
        check_file(path)
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise unreadable(path, error) from error


def check_file(path: Path, *, missing: str = "relative paths in a recipe start at the recipe's folder") -> None:
    """Refuses a path that is no file which can be opened.

    Args:
        path: of the file.
        missing: what to do if there is no such file.

    Raises:
        DataError: naming the path, and what is there instead.
    """
    try:
        if path.is_dir():
            raise DataError(f"{path}: is a folder; name a file in it")
        if not path.exists():
            raise DataError(f"{path}: no such file; {missing}")
        if not path.is_file():  # opening a pipe would wait for whoever writes into it
            raise DataError(f"{path}: is a pipe or a device, and data are read several times; save them as a file")
        with path.open("rb"):
            pass
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """The error for a file that the system does not let us read."""
    shown = str(path) if len(str(path)) <= LONGEST_PATH else f"{str(path)[:LONGEST_PATH]}..."
    return DataError(f"{shown}: cannot be read ({error.strerror or error}); check the path and its permissions")


def text_lines(file: Iterable[bytes], path: Path) -> Iterator[str]:
    r"""The lines of a UTF-8 file with their ends, without a byte order mark. Only `\n` ends a line.

    Raises:
        DataError: for bytes that are not UTF-8, and for zero bytes, with the offset in the file.
    """
    offset = 0
    for number, line in enumerate(file, start=1):
        if number == 1:
            refuse_other_encoding(line, path)
        if 0 in line:  # before decoding: UTF-16 without a mark is full of zeros, and some of it is UTF-8
            raise zero_byte(line, path, number, offset)
        mark = len(codecs.BOM_UTF8) if number == 1 and line.startswith(codecs.BOM_UTF8) else 0
        try:
            text = line[mark:].decode()
        except UnicodeDecodeError as error:
            at = mark + error.start
            raise DataError(
                f"{path} line {number}: byte {line[at]:#04x} at offset {offset + at} is not UTF-8; convert the file "
                "to UTF-8, from Windows-1252 for example with iconv -f WINDOWS-1252 -t UTF-8"
            ) from None
        offset += len(line)
        yield text


def refuse_other_encoding(beginning: bytes, path: Path) -> None:
    """Refuses a file that begins with the byte order mark of another encoding."""
    for mark, encoding in MARKS:
        if beginning.startswith(mark):
            raise DataError(
                f"{path}: byte {beginning[0]:#04x} at offset 0 begins the byte order mark of {encoding}; convert the "
                f"file to UTF-8, for example with iconv -f {encoding} -t UTF-8"
            )


def zero_byte(line: bytes, path: Path, number: int, offset: int) -> DataError:
    """The error for a line with a zero byte, which text files lack and UTF-16 is full of."""
    looks = line.count(0) >= UTF16_ZEROS * len(line)
    remedy = "convert the file from UTF-16 to UTF-8, for example with iconv -f UTF-16LE -t UTF-8"
    return DataError(
        f"{path} line {number}: byte 0x00 at offset {offset + line.index(0)}, which UTF-8 text does not contain; "
        + (remedy if looks else "remove it")
    )


def without_blank_end(lines: Iterable[str]) -> Iterator[str]:
    """The lines without blank ones at the end, which editors and exports leave."""
    blank: list[str] = []
    for line in lines:
        if line.strip():
            yield from blank
            blank.clear()
            yield line
        else:
            blank.append(line)
