"""Studies: methods x seeds x tasks, each combination of which is a recipe.

This module reads a study and checks the recipe of every cell. One recipe is defined in `recipe` and checked in `read`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from understudy.config.conflicts import name_conflicts
from understudy.config.findings import findings_of, invalid
from understudy.config.read import check_recipe, merge
from understudy.config.recipe import Name, Recipe, Seed
from understudy.config.section import Section
from understudy.config.yaml_files import read_mapping, with_absolute_paths
from understudy.errors import ConfigError, shortened, unknown_name

VARIANTS = frozenset({"files", "hub", "forecast", "model", "scratch", "endpoint", "prune"})
"""Keys that select a variant of a section; a section with another variant replaces the whole section below it."""


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if not seeds:
        raise ValueError("needs at least one seed, got none; write [1]")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"has a seed more than once: {list(seeds)}; keep one")
    return seeds


Seeds = Annotated[tuple[Seed, ...], AfterValidator(_distinct)]
"""Seeds of the students."""


class StudyTask(Section):
    """A task of a study."""

    recipe: dict[str, Any]
    """Plain data: the base or the task's own recipe, with the task's settings over it."""
    seeds: Seeds | None = None
    """Seeds for this task; null: those of the study."""
    rows: Annotated[dict[str, dict[str, Any]], Field(default_factory=dict)]
    """Settings of single rows on this task, which override all others (an epoch of gold is longer on some tasks)."""


class MethodRow(Section):
    """A row of the results table: a method and its settings."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    """Label of the row."""
    group: Name
    """Rows of one group are compared with each other; in the paper's study the groups are its stages S1 to S8."""
    method: str
    """Name of a preset."""
    overrides: Annotated[dict[str, Any], Field(alias="set", default_factory=dict)]
    """Settings over those of the task's recipe."""
    tasks: tuple[str, ...] | None = None
    """Tasks on which the row runs; null: all."""
    seeds: Seeds | None = None
    """Those of the task's seeds with which the row runs; null: all."""

    @property
    def label(self) -> str:
        """The name as a part of file names."""
        return re.sub(r"[^\w.]+", "-", self.name).strip("-.")


class Study(Section):
    """All settings of a study."""

    name: Name
    """Name of the study's folder."""
    base: Annotated[dict[str, Any], Field(default_factory=dict)]
    """Plain data: the settings that the tasks' recipes share."""
    tasks: dict[Name, StudyTask]
    """Tasks by name."""
    seeds: Seeds
    """Seeds of the students' weights, data order and samples. Data and teacher use the recipe's seed."""
    methods: tuple[MethodRow, ...]
    """Rows of the results table."""

    def conflicts(self) -> Iterator[str]:
        """Rows without a unique name or without a cell, and unknown tasks and rows."""
        yield from name_conflicts(self.name)
        if not self.tasks or not self.methods:
            yield f"needs tasks and methods, got {len(self.tasks)} tasks and {len(self.methods)} methods; add some"
        labels = [row.label.casefold() for row in self.methods]
        for index, row in enumerate(self.methods):
            entry = f"methods.entry {index + 1}"
            if not row.label:
                yield f"{entry}.name: {row.name!r} has no letter or digit for a file name; use a name with one"
            elif row.label.casefold() in labels[:index]:
                earlier = labels.index(row.label.casefold()) + 1
                yield f"{entry}.name: {row.name!r} gives the same file name as entry {earlier}; use another name"
            unknown = [task for task in row.tasks or () if task not in self.tasks]
            yield from (f"{entry}.tasks: {unknown_name('task', task, self.tasks)}" for task in unknown)
            if self.tasks and not unknown and not any(self.seeds_of(task, row) for task in self.tasks):
                yield f"{entry}.seeds: {row.name!r} has no seed in common with its tasks; use one of theirs"
        names = [row.name for row in self.methods]
        for task, settings in self.tasks.items():
            unknown = [name for name in settings.rows if name not in names]
            yield from (f"tasks.{task}.rows: {unknown_name('row', name, names)}" for name in unknown)

    def seeds_of(self, task: str, row: MethodRow) -> tuple[int, ...]:
        """The seeds with which a row runs on a task, in the task's order; empty if it does not run there."""
        if row.tasks is not None and task not in row.tasks:
            return ()
        own = self.tasks[task].seeds or self.seeds
        return tuple(seed for seed in own if row.seeds is None or seed in row.seeds)


@dataclass(frozen=True)
class Cell:
    """One student: a row on a task with a seed."""

    task: str
    row: MethodRow
    seed: int
    recipe: Recipe


def read_study(path: str | Path) -> Study:
    """The study in a YAML file, with every cell's recipe checked.

    Raises:
        ConfigError: if a file cannot be read, or for any unknown, missing or invalid setting of the study or of a
            cell's recipe; one error reports all findings, each with the name of its cell.
    """
    raw = read_mapping(path, "study")
    raw.setdefault("name", Path(path).stem)
    return check_study(raw, folder=Path(path).parent, where=str(path))


def check_study(raw: Mapping[str, Any], *, folder: str | Path, where: str = "study") -> Study:
    """A study from plain data.

    Args:
        raw: the contents of a study file.
        folder: the folder to which paths in it are relative.
        where: the name of the study in errors.

    Raises:
        ConfigError: as `read_study`.
    """
    folder = Path(folder)
    requested = dict(raw)
    requested["base"] = _recipe(requested.get("base", {}), folder)
    if isinstance(requested.get("tasks"), dict):
        tasks = requested["tasks"].items()
        requested["tasks"] = {name: _task(settings, requested["base"], folder) for name, settings in tasks}
    try:
        study = Study.model_validate(requested)
    except ValidationError as error:
        raise invalid(where, findings_of(error.errors(), Study, prefix="study.")) from None
    rows = [row.model_copy(update={"overrides": with_absolute_paths(row.overrides, folder)}) for row in study.methods]
    study = study.model_copy(update={"methods": tuple(rows)})
    if findings := list(_cell_findings(study)):
        raise invalid(where, findings)
    return study


def cells_of(study: Study) -> Iterator[Cell]:
    """Every cell, the first seed of all methods and tasks before the second of any."""
    most = max(len(settings.seeds or study.seeds) for settings in study.tasks.values())
    for index in range(most):
        for task in study.tasks:
            for row in study.methods:
                seeds = study.seeds_of(task, row)
                if index < len(seeds):
                    yield Cell(task, row, seeds[index], _recipe_of(study, task, row, seeds[index]))


def _cell_findings(study: Study) -> Iterator[str]:
    """Invalid recipes, and rows of a task that are not scored alike."""
    for task in study.tasks:
        conditions: dict[str, Mapping[str, object]] = {}
        for row in study.methods:
            seeds = study.seeds_of(task, row)
            if seeds:  # one is enough: seeds are checked already
                try:
                    conditions[row.name] = _scoring_conditions(_recipe_of(study, task, row, seeds[0]))
                except ConfigError as error:
                    yield f"task {task}, method {row.name!r}: {error}"
        yield from (f"task {task}, {finding}" for finding in _scored_differently(conditions))


def _scoring_conditions(recipe: Recipe) -> dict[str, object]:
    """The settings that decide which texts are scored, and how; rows that are compared must agree in them."""
    task = recipe.task.model_dump()
    files = task.get("files") or {}
    return {
        "seed": recipe.seed,
        "evaluation.resamples": recipe.evaluation.resamples,
        "task.metrics": task["metrics"],
        "task.primary_metric": task["primary_metric"],
        **{f"task.files.{split}": files.get(split) for split in ("dev", "test")},
        **{f"task.{source}": task.get(source) for source in ("hub", "forecast")},
    }


def _scored_differently(conditions: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """A finding for each row that is not scored like the task's first row."""
    first = next(iter(conditions), "")
    for name, settings in conditions.items():
        for setting, value in settings.items():
            expected = conditions[first][setting]
            if value != expected:
                yield (
                    f"method {name!r}: {setting} is {shortened(value)}, but {shortened(expected)} for {first!r}; rows "
                    "are compared in pairs, so set it for the whole task, or move the row to another task"
                )


def _recipe_of(study: Study, task: str, row: MethodRow, seed: int) -> Recipe:
    settings = study.tasks[task]
    plain = _over(_over(settings.recipe, row.overrides), settings.rows.get(row.name, {}))
    distil = plain.get("distil", {})
    if isinstance(distil, dict):
        plain["distil"] = {**distil, "method": row.method}
    return check_recipe({**plain, "name": f"{task}-{row.label}-{seed}", "student_seed": seed}, where="its recipe")


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`merge`, except that a section with another variant replaces the whole section below it."""

    def is_replaced(under: object, over: object) -> bool:
        if not isinstance(under, dict) or not isinstance(over, dict):
            return False
        here, there = VARIANTS & over.keys(), VARIANTS & under.keys()
        return bool(here and there) and here != there

    return merge({key: value for key, value in below.items() if not is_replaced(value, above.get(key))}, above)


def _task(raw: object, base: object, folder: Path) -> object:
    """A task's settings in the form of `StudyTask`; values that are not mappings are left for pydantic to refuse."""
    if raw is None:
        raw = {}
    if not isinstance(raw, dict) or not isinstance(base, dict):
        return raw
    settings = {key: value for key, value in raw.items() if key not in StudyTask.model_fields}
    below = _recipe(raw["recipe"], folder) if "recipe" in raw else base
    whole = _over(below, with_absolute_paths(settings, folder)) if isinstance(below, dict) else below
    rows = raw.get("rows", {})
    if isinstance(rows, dict):
        rows = {
            name: with_absolute_paths(value, folder) if isinstance(value, dict) else value
            for name, value in rows.items()
        }
    return {"recipe": whole, "rows": rows, **({"seeds": raw["seeds"]} if "seeds" in raw else {})}


def _recipe(value: object, folder: Path) -> object:
    """A recipe as plain data, given inline or as the path of a file."""
    if isinstance(value, str):
        path = folder / value
        return with_absolute_paths(read_mapping(path, "recipe"), path.parent)
    return with_absolute_paths(value, folder) if isinstance(value, dict) else value
