"""Recognises the folder of a finished run, without the libraries that reading its stages needs."""

from pathlib import Path

from understudy.errors import StoreError

STAGES = "stages.json"
"""The stages of a run by label; a run's folder without this file is of a run that did not finish."""


def require_run(folder: str | Path) -> Path:
    """The absolute path of a finished run's folder.

    Raises:
        StoreError: if there is no finished run.
    """
    folder = Path(folder).resolve()  # the store lies next to it, also if the folder is given as "."
    if not folder.exists():
        raise StoreError(f"{folder}: no such folder; give the folder of a finished run, such as runs/demo")
    if not (folder / STAGES).is_file():
        raise StoreError(f"{folder} holds no finished run ({STAGES} is missing); give a folder such as runs/demo")
    return folder
