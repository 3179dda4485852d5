"""Examples held in memory become the files of a task, so that they have a content and a place like any others."""

import json
from collections.abc import Iterable
from pathlib import Path

from understudy.errors import DataError
from understudy.records import Example
from understudy.store.disk import make_folder, write_text

Given = Example | tuple[str, str] | str
"""An example, a source with its target, or a source alone."""


def save_examples(
    folder: str | Path,
    *,
    labeled: Iterable[Given] = (),
    unlabeled: Iterable[Given] = (),
    dev: Iterable[Given] = (),
    test: Iterable[Given] = (),
) -> dict[str, str]:
    """Writes examples as JSON lines, one file per split that has any.

    Args:
        folder: created if it does not exist; files of these names are replaced.
        labeled: examples with targets.
        unlabeled: sources alone.
        dev: examples with targets.
        test: examples with targets.

    Returns:
        The section `task.files` of a recipe: split -> path.

    Raises:
        DataError: if no split has an example.
        StoreError: if the folder cannot be created.
    """
    folder = Path(folder).resolve()
    splits = {"labeled": labeled, "unlabeled": unlabeled, "dev": dev, "test": test}
    rows = {name: [_record(name, i, given) for i, given in enumerate(own)] for name, own in splits.items()}
    if not any(rows.values()):
        raise DataError("no example was given; give at least one of labeled, unlabeled, dev, test")
    make_folder(folder)
    paths = {name: folder / f"{name}.jsonl" for name, own in rows.items() if own}
    for name, path in paths.items():
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[name]))
    return {name: str(path) for name, path in paths.items()}


def _record(split: str, index: int, given: Given) -> dict[str, object]:
    if isinstance(given, Example):
        return {"id": given.id, "source": given.source, **({"targets": list(given.targets)} if given.targets else {})}
    if isinstance(given, str):
        return {"id": f"{split}-{index}", "source": given}
    source, target = given
    return {"id": f"{split}-{index}", "source": source, "target": target}
