"""Which stages the studies in a folder need. Loads no torch."""

from pathlib import Path

from understudy.pipeline.run_record import PLANNED
from understudy.store.disk import read_json
from understudy.store.inventory import Need
from understudy.store.manifest import read_checked

CELLS = "cells"
"""Folder of a study with the records of its cells."""


def needed_by_studies(out: Path) -> dict[str, Need]:
    """The stages that each study in a folder of runs and studies needs, for finished cells and for others.

    Raises:
        StoreError: if the record of a cell is damaged.
    """
    needed: dict[str, Need] = {}
    for path in out.glob(f"*/{CELLS}/*.json"):
        need = needed.setdefault(path.parent.parent.name, Need())
        if path.name.endswith(PLANNED):
            need.stages |= set(map(str, read_checked(path).values()))
            need.interrupted = True
        elif stage := read_json(path).get("stage"):
            need.stages.add(str(stage))
    return needed
