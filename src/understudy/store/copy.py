"""Copies of finished stages in another store."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from understudy.store.disk import delete, make_folder, publish
from understudy.store.manifest import MANIFEST, read_manifest
from understudy.store.verify import verify_files


def copy_stages(folders: Mapping[str, Path], root: Path) -> dict[str, Path]:
    """Copies finished stages with their shards into a store that does not have them.

    Args:
        folders: by any label.
        root: the folder of the other store.

    Returns:
        The copies, by the same labels.

    Raises:
        StoreError: if a copied stage is damaged.
    """
    make_folder(root)
    for folder in folders.values():
        for shard in read_manifest(folder).shards:
            if (folder.parent / shard / MANIFEST).is_file():  # a finished run can do without it
                _copy(folder.parent / shard, root)
        _copy(folder, root)
    return {label: root / folder.name for label, folder in folders.items()}


def _copy(folder: Path, root: Path) -> None:
    final = root / folder.name
    if (final / MANIFEST).is_file():
        return
    partial = final.with_name(f"{final.name}.partial")
    delete(partial)
    verify_files(folder)
    shutil.copytree(folder, partial)
    publish(partial, final)
