"""A study: methods x seeds x tasks, each combination a recipe of its own.

From a YAML file to checked cells; what one recipe says, and how it is checked, stands in `recipe` and `read`.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, NonNegativeInt, ValidationError, model_validator
from pydantic_core import ErrorDetails

from understudy.config.read import anchored, check_recipe, merge, read_mapping, shortened
from understudy.config.recipe import Recipe
from understudy.config.section import Section
from understudy.errors import ConfigError

VARIANTS = frozenset({"files", "hub", "forecast", "model", "scratch", "endpoint", "prune"})
"""Keys that name a variant of a section: a section with another one replaces the one below whole."""


def _each_once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if not seeds or len(set(seeds)) < len(seeds):
        msg = f"needs at least one seed, each named once, got {list(seeds)}"
        raise ValueError(msg)
    return seeds


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]
Seeds = Annotated[tuple[NonNegativeInt, ...], AfterValidator(_each_once)]


class StudyTask(Section):
    """A task of the study."""

    recipe: dict[str, Any]
    """Plain data: the base, or a recipe of the task's own, with the task's settings over it."""
    seeds: Seeds | None = None
    """None: the study's."""
    rows: Annotated[dict[str, dict[str, Any]], Field(default_factory=dict)]
    """Settings of single rows on this task, over all others: an epoch of gold is not equally long everywhere."""


class MethodRow(Section):
    """A row of the table: a method with settings of its own."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    stage: Name
    """What the row is compared within, such as S3."""
    method: str
    """A preset."""
    overrides: Annotated[dict[str, Any], Field(alias="set", default_factory=dict)]
    """Settings over the task's recipe."""
    tasks: tuple[str, ...] | None = None
    """Where the row runs; none: everywhere."""
    seeds: Seeds | None = None
    """Those of the task's seeds with which it runs; none: all."""

    @property
    def label(self) -> str:
        """The name as a part of a file's name."""
        return re.sub(r"[^\w.]+", "-", self.name).strip("-.")


class Study(Section):
    """A study, whole."""

    name: Name
    """Of the study's folder."""
    base: Annotated[dict[str, Any], Field(default_factory=dict)]
    """Plain data: what the tasks' recipes share."""
    tasks: dict[Name, StudyTask]
    seeds: Seeds
    """Of the students: start, order of examples and texts. Data and teacher keep the recipe's seed."""
    methods: tuple[MethodRow, ...]

    @model_validator(mode="after")
    def _rows_have_names_of_their_own(self) -> Self:
        labels = [row.label.casefold() for row in self.methods]
        for place, row in enumerate(self.methods):
            if not row.label or row.label.casefold() in labels[:place]:
                msg = f"methods.{place}.name: {row.name!r} is no name of its own; give each row another one"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _rows_run_somewhere(self) -> Self:
        if not self.tasks or not self.methods:
            msg = f"needs tasks and methods, got {len(self.tasks)} tasks and {len(self.methods)} methods; add some"
            raise ValueError(msg)
        for place, row in enumerate(self.methods):
            for task in row.tasks or ():
                if task not in self.tasks:
                    known = ", ".join(sorted(self.tasks))
                    msg = f"methods.{place}.tasks: unknown task {task!r} (known here: {known})"
                    raise ValueError(msg)
            if not any(self.seeds_of(task, row) for task in self.tasks):
                msg = f"methods.{place}.seeds: {row.name!r} runs with none of its tasks' seeds; name one of theirs"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _rows_of_tasks_are_there(self) -> Self:
        known = [row.name for row in self.methods]
        for task, own in self.tasks.items():
            for name in own.rows:
                if name not in known:
                    msg = f"tasks.{task}.rows: unknown row {name!r} (known here: {', '.join(known)})"
                    raise ValueError(msg)
        return self

    def seeds_of(self, task: str, row: MethodRow) -> tuple[int, ...]:
        """The seeds with which a row runs on a task, in the task's order; empty where it does not run."""
        if row.tasks is not None and task not in row.tasks:
            return ()
        own = self.tasks[task].seeds or self.seeds
        return tuple(seed for seed in own if row.seeds is None or seed in row.seeds)


@dataclass(frozen=True)
class Cell:
    """A method on a task with a seed: one student."""

    task: str
    row: MethodRow
    seed: int
    recipe: Recipe


def read_study(path: Path) -> Study:
    """The study in a YAML file; every cell's recipe has been checked.

    Raises:
        ConfigError: if a file cannot be read, or anything in the study or in the recipe of a cell is unknown,
            missing or out of range; all of it in one message, a line per finding, under the name of its cell.
    """
    raw = read_mapping(path, "study")
    raw.setdefault("name", path.stem)
    return check_study(raw, folder=path.parent, where=str(path))


def check_study(raw: Mapping[str, Any], *, folder: Path, where: str = "study") -> Study:
    """A study from plain data.

    Args:
        raw: what a study's file holds.
        folder: what relative paths in it are meant from.
        where: what an error calls the study.

    Raises:
        ConfigError: as `read_study`.
    """
    asked = dict(raw)
    asked["base"] = _recipe(asked.get("base", {}), folder)
    if isinstance(asked.get("tasks"), dict):
        asked["tasks"] = {name: _task(own, asked["base"], folder) for name, own in asked["tasks"].items()}
    try:
        study = Study.model_validate(asked)
    except ValidationError as error:
        findings = "\n".join(f"  {_finding(details)}" for details in error.errors())
        raise ConfigError(f"{where} cannot be run as it is written:\n{findings}") from None
    rows = [row.model_copy(update={"overrides": anchored(row.overrides, folder)}) for row in study.methods]
    study = study.model_copy(update={"methods": tuple(rows)})
    _check_cells(study, where)
    return study


def cells_of(study: Study) -> Iterator[Cell]:
    """Every cell, the first seed of all methods and tasks before the second of any."""
    most = max(len(own.seeds or study.seeds) for own in study.tasks.values())
    for place in range(most):
        for task in study.tasks:
            for row in study.methods:
                seeds = study.seeds_of(task, row)
                if place < len(seeds):
                    yield Cell(task, row, seeds[place], _recipe_of(study, task, row, seeds[place]))


def _check_cells(study: Study, where: str) -> None:
    findings = []
    for task in study.tasks:
        scored: dict[str, Mapping[str, object]] = {}
        for row in study.methods:
            seeds = study.seeds_of(task, row)
            if seeds:  # one stands for all: seeds are checked already
                try:
                    scored[row.name] = _scored_by(_recipe_of(study, task, row, seeds[0]))
                except ConfigError as error:
                    findings.append(f"task {task}, method {row.name!r}: {error}")
        findings += [f"task {task}, {said}" for said in _scored_otherwise(scored)]
    if findings:
        raise ConfigError(f"{where} cannot be run as it is written:\n" + "\n".join(findings))


def _scored_by(recipe: Recipe) -> dict[str, object]:
    """What decides which texts the rows of a task are scored on, and how: all that a pair must share."""
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


def _scored_otherwise(scored: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """A sentence for each row that is scored otherwise than the task's first."""
    first = next(iter(scored), "")
    for name, own in scored.items():
        for setting, value in own.items():
            if value != scored[first][setting]:
                yield (
                    f"method {name!r}: {setting} is {shortened(value)}, and {shortened(scored[first][setting])} for "
                    f"{first!r}; rows are compared pair by pair, so set it for the task, or make another task of it"
                )


def _recipe_of(study: Study, task: str, row: MethodRow, seed: int) -> Recipe:
    own = study.tasks[task]
    plain = _over(_over(own.recipe, row.overrides), own.rows.get(row.name, {}))
    distil = plain.get("distil", {})
    if isinstance(distil, dict):
        plain["distil"] = {**distil, "method": row.method}
    return check_recipe({**plain, "name": f"{task}-{row.label}-{seed}", "student_seed": seed}, where="its recipe")


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`merge`, in which a section that names another variant replaces the one below whole."""

    def another(under: object, over: object) -> bool:
        if not isinstance(under, dict) or not isinstance(over, dict):
            return False
        here, there = VARIANTS & over.keys(), VARIANTS & under.keys()
        return bool(here and there) and here != there

    return merge({key: own for key, own in below.items() if not another(own, above.get(key))}, above)


def _task(raw: object, base: object, folder: Path) -> object:
    """A task as `StudyTask` holds it; what is no mapping is left for pydantic to refuse."""
    if raw is None:
        raw = {}
    if not isinstance(raw, dict) or not isinstance(base, dict):
        return raw
    settings = {key: own for key, own in raw.items() if key not in StudyTask.model_fields}
    below = _recipe(raw["recipe"], folder) if "recipe" in raw else base
    whole = _over(below, anchored(settings, folder)) if isinstance(below, dict) else below
    rows = raw.get("rows", {})
    if isinstance(rows, dict):
        rows = {name: anchored(own, folder) if isinstance(own, dict) else own for name, own in rows.items()}
    return {"recipe": whole, "rows": rows, **({"seeds": raw["seeds"]} if "seeds" in raw else {})}


def _recipe(asked: object, folder: Path) -> object:
    """A recipe as plain data: written in place, or the path of a file."""
    if isinstance(asked, str):
        path = folder / asked
        return anchored(read_mapping(path, "recipe"), path.parent)
    return anchored(asked, folder) if isinstance(asked, dict) else asked


def _finding(details: ErrorDetails) -> str:
    place = details["loc"]
    path, said = ".".join(map(str, place)), details["msg"].removeprefix("Value error, ")
    match details["type"]:
        case "extra_forbidden":
            inner: dict[str, type[Section]] = {"tasks": StudyTask, "methods": MethodRow}
            section = inner.get(str(place[0]), Study) if place[1:] else Study
            known = sorted(field.alias or name for name, field in section.model_fields.items())
            near = difflib.get_close_matches(str(place[-1]), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return f"{path}: unknown key{hint} (known here: {', '.join(known)})"
        case "missing":
            return f"{path}: is missing; add it"
        case "value_error":  # one of our own sentences: it says what was found
            return f"{path}: {said}" if path else said
        case _:
            return f"{path}: {said}, got {shortened(details['input'])}"
