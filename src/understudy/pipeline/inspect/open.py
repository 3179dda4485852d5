"""A finished run, opened by its folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.config.read import read_recipe
from understudy.config.recipe import Recipe
from understudy.errors import PoolError, StoreError
from understudy.models.tokenizers import load_tokenizer
from understudy.pipeline.context import NETWORK
from understudy.pipeline.delivery import report_facts
from understudy.pipeline.run import Run
from understudy.pipeline.run_record import RECIPE_FILE, read_record
from understudy.pipeline.stages.data import read_data
from understudy.pipeline.stages.student import STUDENT_SAMPLES
from understudy.pool.pool import PseudoTargetPool
from understudy.report.facts import TEACHER
from understudy.store.manifest import MANIFEST, read_manifest
from understudy.store.stage import FinishedStage
from understudy.store.verify import verified

PREDICTIONS = "predictions_"


@dataclass(frozen=True)
class OpenedRun(Run):
    """A finished run with its recipe."""

    recipe: Recipe
    store: Path
    """The store in which its stages lie."""

    def stage(self, label: str) -> Path:
        """The folder of one stage, whose files are verified.

        Raises:
            StoreError: if the run has no such stage, or it or a shard of it was deleted or is damaged.
        """
        folder = self.stages.get(label)
        if folder is None:
            raise StoreError(f"the run in {self.folder} has no stage {label!r}; it has {', '.join(self.stages)}")
        # Running a finished recipe makes nothing: its scores need to be missing too.
        remedy = f"delete {self.stages['scores'].name} there too and run the recipe again, which makes both again"
        what = f"the stage {label!r} of the run in {self.folder}"
        if gone := missing_parts(folder):
            raise StoreError(f"{what} was deleted: {gone[0]} is not in {self.store}; {remedy}")
        try:
            return verified(folder)
        except StoreError as error:
            raise StoreError(f"{what} is damaged: {error}; {remedy}") from None

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

    Only the stage of its scores must be there; others may have been deleted from the store. The delivered student is
    verified, if it is there.

    Raises:
        StoreError: if the folder holds no finished run, its scores were deleted, or they or its student are damaged.
    """
    folder = Path(folder).resolve()  # the store lies next to it, also if the folder is given as "."
    record = read_record(folder)
    store = (folder / record.store).resolve()
    stages = {label: store / name for label, name in record.stages}
    if "scores" not in stages or not (stages["scores"] / MANIFEST).is_file():
        raise StoreError(f"the scores of the run in {folder} were deleted from {store}; run its recipe again")
    if (store / record.student / MANIFEST).exists():
        verified(store / record.student)
    recipe = read_recipe(folder / RECIPE_FILE)
    present = {label: path for label, path in stages.items() if (path / MANIFEST).is_file()}
    return OpenedRun(folder, report_facts(recipe, present, set(record.made)), stages, recipe, store)


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
