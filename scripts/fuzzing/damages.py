"""Damages of one file in a folder, as a disk, a copy or a hand may cause them."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st
from scripts.fuzzing.oracle import VALID

NO_BYTES_COUNT = ("manifest.json", "stages.json")
"""Files whose values have a checksum: blanks between them may change."""
BYTES: dict[str, Callable[[bytes, int, int], bytes]] = {
    "a flipped byte": lambda content, place, mask: (
        content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :] if content else content
    ),
    "another letter": lambda content, place, mask: content[:place] + content[place:].replace(b"e", b"o", 1),
    "truncated": lambda content, place, mask: content[:place],
    "zeros from a place on": lambda content, place, mask: content[:place] + bytes(len(content) - place),
    "a byte too many": lambda content, place, mask: content[:place] + bytes([mask]) + content[place:],
    "a byte too few": lambda content, place, mask: content[:place] + content[place + 1 :],
    "emptied": lambda content, place, mask: b"",
    "an empty object": lambda content, place, mask: b"{}",
    "a list": lambda content, place, mask: b"[1]",
    "null": lambda content, place, mask: b"null",
    "deep brackets": lambda content, place, mask: b"[" * 100_000,
    "a number of 5,000 digits": lambda content, place, mask: b'{"key": ' + b"9" * 5000 + b"}",
}
"""Damage -> the bytes after it, of those before it, a place among them, and a byte."""


def delete(path: Path) -> None:
    """No file."""
    path.unlink()


def folder(path: Path) -> None:
    """A folder in place of the file."""
    path.unlink()
    path.mkdir()


def dangling_link(path: Path) -> None:
    """A link to nothing in place of the file."""
    path.unlink()
    path.symlink_to(path.with_name("zz-nothing"))


def file_in_place_of_its_folder(path: Path) -> None:
    """A file in place of the folder that holds the file."""
    shutil.rmtree(path.parent)
    path.parent.write_bytes(b"zz")


STAGE_GONE = "a file in place of its folder"
PLACES: dict[str, Callable[[Path], None]] = {
    "deleted": delete,
    "a folder in its place": folder,
    "a dangling link": dangling_link,
    STAGE_GONE: file_in_place_of_its_folder,
}


@dataclass(frozen=True)
class Damage:
    """A damage of one file."""

    file: str
    """Path inside the damaged folder."""
    kind: str
    share: float
    """The place: a share of the file's bytes."""
    mask: int
    """A byte that is not 0."""

    def after(self, before: bytes) -> bytes:
        """The bytes of the file after a damage of its bytes."""
        return BYTES[self.kind](before, int(self.share * len(before)), self.mask)

    def label(self, root: Path) -> str:
        """The fault; `VALID` where it changes nothing that is read."""
        before = (root / self.file).read_bytes()
        if self.kind in BYTES and _same(before, self.after(before), self.file):
            return VALID
        return f"{self.kind}: {self.file.rsplit('/')[-1]}"

    def apply(self, root: Path) -> None:
        """Damages the file. It is replaced, because its bytes may be shared with other copies of the folder."""
        path = root / self.file
        if self.kind in PLACES:
            PLACES[self.kind](path)
        else:
            after = self.after(path.read_bytes())
            path.unlink()
            path.write_bytes(after)


def damages(files: Sequence[str], kinds: Sequence[str] = (*BYTES, *PLACES)) -> st.SearchStrategy[Damage]:
    """Any damage of any of these files."""
    return st.builds(
        Damage,
        file=st.sampled_from(files),
        kind=st.sampled_from(kinds),
        share=st.floats(0, 1, exclude_max=True),
        mask=st.integers(1, 255),
    )


def _same(before: bytes, after: bytes, file: str) -> bool:
    if before == after:
        return True
    if not file.endswith(NO_BYTES_COUNT):
        return False
    try:
        return bool(json.loads(before) == json.loads(after))
    except (ValueError, RecursionError):
        return False
