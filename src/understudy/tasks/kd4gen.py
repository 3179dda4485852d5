"""Loads a task from the format of the KD4Gen code (Calderon et al. 2023): one JSON object of splits with lists.

{"train": {"text": [...], "target": [...]}, "dev": {...}, "test": {...}, "unlabeled": {"text": [...]}}
"""

from collections.abc import Iterator
from pathlib import Path

from understudy.config.task import Fields
from understudy.errors import DataError
from understudy.progress import SILENT, Progress, reported
from understudy.tasks.file_formats import json_file
from understudy.tasks.files import LoadedTask, assemble, read_split
from understudy.tasks.record import Record

SPLIT_NAMES = {
    "train": "labeled",
    "dev": "dev",
    "validation": "dev",
    "test": "test",
    "unlabeled": "unlabeled",
}
"""Name of a split in the file -> its name in understudy."""


def load_kd4gen(
    path: Path,
    *,
    labeled_inputs: int | None = None,
    unlabeled_inputs: int | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> LoadedTask:
    """Loads a task from one KD4Gen file.

    Args:
        path: the JSON file, with `test`, one of `dev` and `validation`, and one of `train` and `unlabeled`.
        labeled_inputs: as in `load_files`.
        unlabeled_inputs: as in `load_files`.
        seed: as in `load_files`.
        progress: of reading the records.

    Returns:
        The splits, with counts of what was merged and dropped.

    Raises:
        DataError: if the file or one of its records cannot be used.
    """
    content = read_json_object(path)
    unknown = [name for name in content if name not in SPLIT_NAMES]
    if unknown:
        raise DataError(f"{path}: unknown split {unknown[0]!r}; known: {', '.join(SPLIT_NAMES)}")
    if "dev" in content and "validation" in content:
        raise DataError(f"{path}: has both 'dev' and 'validation'; keep one of them")
    if "test" not in content or not {"dev", "validation"} & set(content) or not {"train", "unlabeled"} & set(content):
        raise DataError(
            f"{path}: found the splits {list(content)}; needed are 'test', one of 'dev', 'validation', and one of "
            "'train', 'unlabeled'"
        )
    fields = Fields(source="text", id=None)
    splits = {
        SPLIT_NAMES[name]: read_split(
            reported(progress, f"read {SPLIT_NAMES[name]}", split_records(path, name, content[name]), "record"),
            split=SPLIT_NAMES[name],
            fields=fields,
            labeled=name != "unlabeled",
            origin=f"{path} split {name!r}",
        )
        for name in content
    }
    return assemble(splits, labeled_inputs=labeled_inputs, unlabeled_inputs=unlabeled_inputs, seed=seed)


def read_json_object(path: Path) -> dict[str, object]:
    """The file's JSON object."""
    content = json_file(path, remedy="write the file again")
    if not isinstance(content, dict):
        raise DataError(f"{path}: found a JSON {type(content).__name__}, not an object of splits")
    return content


def split_records(path: Path, name: str, split: object) -> Iterator[Record]:
    """The records of one split."""
    if not isinstance(split, dict) or not all(isinstance(column, list) for column in split.values()):
        raise DataError(f'{path} split {name!r}: not an object of lists; write {{"text": [...], "target": [...]}}')
    lengths = {column: len(values) for column, values in split.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{length} under {column!r}" for column, length in lengths.items())
        raise DataError(f"{path} split {name!r}: found {found}; its lists must have the same length")
    for number, values in enumerate(zip(*split.values(), strict=True), start=1):
        yield Record(number, f"{path} split {name!r} item {number}", dict(zip(split, values, strict=True)))
