"""The manifest of a finished stage: what it was made from, which files it has, and the facts of its result."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from understudy.errors import StoreError, first_line
from understudy.store.disk import read_json, write_json

MANIFEST = "manifest.json"
CLOSED = ConfigDict(extra="forbid")
"""Of records whose file has a checksum: a damaged name of the checksum must not switch it off."""
CHECKSUM = "checksum"
"""Key of the sha256 of all other values. Manifests of earlier versions have none and are accepted without."""

F = TypeVar("F")


@dataclass(frozen=True)
class Manifest:
    """A stage's metadata, written last: its presence means that the stage is complete."""

    __pydantic_config__ = CLOSED

    stage: str
    key: str
    version: int
    fields: Mapping[str, Any]
    """The stage's fields as plain data, for people; the key is a hash of them."""
    inputs: Mapping[str, str]
    """Path of each field that holds a stage -> the name of that stage's folder."""
    shards: tuple[str, ...]
    """The folders of the shards; the stage is finished only while they are there."""
    files: Mapping[str, str]
    """Path inside the stage's folder -> sha256."""
    facts: Mapping[str, Any]
    seconds: float
    """Wall time of all attempts where the stage measures it, else of the last."""
    versions: Mapping[str, str]
    """Versions of the libraries. They are in no key: an update must not discard a week of work."""


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest of a stage whose files are complete."""
    write_checked(folder / MANIFEST, asdict(manifest))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a finished stage.

    Raises:
        StoreError: if the folder has none, it is damaged or of another stage, or files that it names are missing.
    """
    manifest = parse(Manifest, read_checked(folder / MANIFEST), folder)
    if folder.name != f"{manifest.stage}-{manifest.key}":
        raise StoreError(
            f"{folder} holds the manifest of another stage, {manifest.stage}-{manifest.key}; delete the folder and run "
            "the recipe again to make the stage again"
        )
    gone = [name for name in manifest.files if not (folder / name).is_file()]
    if gone:
        raise StoreError(
            f"{folder} lacks {len(gone)} of its {len(manifest.files)} files (first: {gone[0]}); "
            "delete the folder and run the recipe again to make the stage again"
        )
    return manifest


def write_checked(path: Path, value: Mapping[str, object]) -> None:
    """Writes a JSON file with a checksum of its values."""
    content = json.loads(json.dumps(value))  # as it is read: keys that are numbers become text
    write_json(path, {**content, CHECKSUM: _checksum(content)})


def read_checked(path: Path) -> dict[str, object]:
    """The values of a file that `write_checked` wrote.

    Raises:
        StoreError: if it is missing, or its values do not have the checksum that it records.
    """
    content = read_json(path)
    recorded = content.pop(CHECKSUM, None)
    if recorded is not None and recorded != _checksum(content):
        raise StoreError(
            f"{path} is damaged: its values do not have the checksum that it records; delete the folder {path.parent} "
            "and run the recipe again"
        )
    return content


def parse(kind: type[F], plain: object, folder: Path) -> F:
    """Plain JSON data as a record.

    Raises:
        StoreError: if it is not of that kind.
    """
    try:
        adapter: TypeAdapter[F] = _adapter(kind)  # type: ignore[arg-type] # classes are hashable
        return adapter.validate_python(plain)
    except ValidationError as error:
        raise StoreError(
            f"the manifest in {folder} is damaged or of another version ({first_line(error)}); delete the folder and "
            "run the recipe again to make the stage again"
        ) from None


@cache
def _adapter(kind: type[F]) -> TypeAdapter[F]:
    """Made once per kind: it takes milliseconds, and a store has hundreds of manifests."""
    return TypeAdapter(kind)


def _checksum(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
