"""A finished run, opened by its folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from understudy.config.read import read_recipe
from understudy.config.recipe import Recipe
from understudy.errors import PoolError, StoreError
from understudy.models.tokenizers import load_tokenizer
from understudy.pipeline.context import NETWORK, STORE
from understudy.pipeline.delivery import report_facts
from understudy.pipeline.run import Run
from understudy.pipeline.run_folder import STAGES, require_run
from understudy.pipeline.stages.data import read_data
from understudy.pipeline.stages.student import STUDENT_SAMPLES
from understudy.pool.pool import PseudoTargetPool
from understudy.report.facts import TEACHER, Facts
from understudy.report.page import REPORT
from understudy.store.disk import read_json
from understudy.store.manifest import MANIFEST, read_manifest
from understudy.store.stage import FinishedStage

PREDICTIONS = "predictions_"


@dataclass(frozen=True)
class OpenedRun(Run):
    """A finished run with its recipe."""

    recipe: Recipe

    def stage(self, label: str) -> Path:
        """The folder of one stage.

        Raises:
            StoreError: if the run has no such stage, or it or a shard of it was deleted.
        """
        folder = self.stages.get(label)
        if folder is None:
            raise StoreError(f"the run in {self.folder} has no stage {label!r}; it has {', '.join(self.stages)}")
        if gone := missing_parts(folder):
            # Running a finished recipe makes nothing: its scores need to be missing too.
            raise StoreError(
                f"the stage {label!r} of the run in {self.folder} was deleted: {gone[0]} is not in {folder.parent}; "
                f"delete {self.stages['scores'].name} there too and run the recipe again, which makes both again"
            )
        return folder

    def finished(self, label: str) -> FinishedStage:
        """One stage as a value, for stages that depend on it.

        Raises:
            StoreError: as `stage`.
        """
        return FinishedStage(self.stage(label).name)

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems that were scored, in the report's order."""
        return tuple(system["name"] for system in self.facts["systems"])

    def predictions(self, system: str) -> Path:
        """The folder of a system's predictions.

        Raises:
            StoreError: as `stage`.
        """
        label = f"{PREDICTIONS}{system}"
        return self.stage(label if label in self.stages or system != TEACHER else "api_responses")


def missing_parts(folder: Path) -> list[str]:
    """What is no longer in the store of a stage that was finished: itself, or some of its shards."""
    if not (folder / MANIFEST).is_file():
        return [folder.name]
    return [shard for shard in read_manifest(folder).shards if not (folder.parent / shard / MANIFEST).is_file()]


def open_run(folder: str | Path) -> OpenedRun:
    """The run in a folder.

    Only the stage of its scores must be there; others may have been deleted from the store.

    Raises:
        StoreError: if the folder holds no finished run, or its scores were deleted.
    """
    folder = require_run(folder)
    names = cast(dict[str, str], read_json(folder / STAGES))
    store = folder.parent / STORE
    stages = {label: store / name for label, name in names.items()}
    if "scores" not in stages or not (stages["scores"] / MANIFEST).is_file():
        raise StoreError(f"the scores of the run in {folder} were deleted from {store}; run its recipe again")
    recipe = read_recipe(folder / "recipe.yaml")
    present = {label: path for label, path in stages.items() if (path / MANIFEST).is_file()}
    return OpenedRun(folder, report_facts(recipe, present, _made_by(folder)), stages, recipe)


def _made_by(folder: Path) -> set[str]:
    """The keys of the stages that the run made itself, as its own report says."""
    if not (folder / REPORT).is_file():
        return set()
    stages = cast(Facts, read_json(folder / REPORT)).get("stages", [])
    return {stage["key"] for stage in stages if not stage["reused"]}


def open_pool(folder: str | Path, *, student: bool) -> tuple[PseudoTargetPool, dict[str, str], int | None]:
    """A run's pool (or the student's samples), the sources of its inputs, and the id that ends a text.

    Raises:
        PoolError: if there are no such texts.
        StoreError: if there is no finished run, or the stage was deleted.
    """
    opened = open_run(folder)
    method = opened.recipe.distil.method
    distilled = method if f"{method}_distilled" not in opened.stages else f"{method}_distilled"
    place = opened.stage(distilled) / STUDENT_SAMPLES if student else None
    if place is None and "pseudo_targets" in opened.stages:
        place = opened.stage("pseudo_targets")
    if place is None or not place.is_dir():
        who = "student" if student else "teacher"
        raise PoolError(f"there are no texts of the {who} in {opened.folder}: method {method} uses none")
    data = read_data(opened.stage("data"))
    sources = {example.id: example.source for example in (*data.labeled, *data.unlabeled)}
    tokenizer: Any = load_tokenizer(str(opened.stage(method) / NETWORK))
    return PseudoTargetPool.open(place), sources, tokenizer.eos_token_id
