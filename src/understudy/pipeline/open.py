"""A finished run, found again by its folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from understudy.config.read import read_recipe
from understudy.config.recipe import Recipe
from understudy.errors import PoolError, StoreError
from understudy.pipeline.bench import STORE
from understudy.pipeline.data import read_data
from understudy.pipeline.networks import tokenizer_of
from understudy.pipeline.proof import facts_of
from understudy.pipeline.run import STAGES, Run
from understudy.pipeline.teach import STUDENT_SAMPLES
from understudy.pool.pool import PseudoTargetPool
from understudy.report.facts import Facts
from understudy.report.page import REPORT
from understudy.store import Finished
from understudy.store.disk import read_json
from understudy.store.stages import open_stage


@dataclass(frozen=True)
class OpenedRun(Run):
    """A finished run with the recipe it was asked for."""

    recipe: Recipe


def open_run(folder: Path) -> OpenedRun:
    """The run in a folder.

    Raises:
        StoreError: if the folder holds no finished run, or one of its stages is gone.
    """
    folder = folder.resolve()  # the store lies beside it, also where it is called "."
    if not (folder / STAGES).is_file():
        raise StoreError(f"{folder} holds no finished run ({STAGES} is missing); give a folder such as runs/demo")
    names = cast(dict[str, str], read_json(folder / STAGES))
    stages: dict[str, Finished] = {name: open_stage(folder.parent / STORE / own) for name, own in names.items()}
    recipe = read_recipe(folder / "recipe.yaml")
    facts = facts_of(stages["proof"], list(stages.values()), made=_made_by(folder))
    return OpenedRun(folder, facts, stages, recipe)


def _made_by(folder: Path) -> list[str]:
    """The keys of the stages that the run made itself, as its own report says."""
    if not (folder / REPORT).is_file():
        return []
    told = cast(Facts, read_json(folder / REPORT)).get("stages", [])
    return [stage["key"] for stage in told if not stage["reused"]]


def open_pool(folder: Path, *, student: bool) -> tuple[PseudoTargetPool, dict[str, str], int | None]:
    """A run's pool (the student's texts if so asked), the sources of its inputs, and the id that ends a text."""
    opened = open_run(folder)
    method = opened.recipe.distil.method
    place = opened.stages[method].folder / STUDENT_SAMPLES if student else None
    if place is None and "pool" in opened.stages:
        place = opened.stages["pool"].folder
    if place is None or not place.is_dir():
        who = "student" if student else "teacher"
        raise PoolError(f"the {who} wrote no texts in {folder}: method {method} has no share for them")
    data = read_data(opened.stages["data"])
    sources = {example.id: example.source for example in (*data.labeled, *data.unlabeled)}
    return PseudoTargetPool.open(place), sources, tokenizer_of(opened.stages[method]).eos_token_id
