"""The first stage: the task's splits, checked, as the rest of the run reads them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path

from understudy.config.recipe import Recipe
from understudy.config.task import FilesTask, ForecastTask, HubTask, Splits
from understudy.demo.forecast import forecast_task
from understudy.errors import DataError
from understudy.pipeline.bench import Bench
from understudy.records import Example, TaskData
from understudy.store import Finished
from understudy.store.disk import checksum, checksums, write_text
from understudy.tasks.files import hold_out, load_files
from understudy.tasks.guards import describe, drop_leaks, refuse_leaks
from understudy.tasks.hub import load_hub
from understudy.tasks.kd4gen import load_kd4gen

SPLITS = tuple(field.name for field in fields(TaskData))


def make_data(bench: Bench) -> Finished:
    """The stage that holds the splits."""
    recipe = bench.recipe

    def work(folder: Path) -> Mapping[str, object]:
        data, facts = _load(recipe)
        match recipe.task.leaks:
            case "refuse":
                refuse_leaks(data)
            case "drop_from_train":
                whole, data = data, drop_leaks(data)
                _say_dropped(bench, whole, data)
            case "allow":
                pass
        for split in SPLITS:
            write_text(folder / f"{split}.jsonl", _lines(getattr(data, split)))
        return {"splits": describe(data), **facts}

    return bench.store.stage("data", settings=_settings(recipe), inputs={}, work=work)


def _say_dropped(bench: Bench, whole: TaskData, clean: TaskData) -> None:
    for split in SPLITS:
        if gone := len(getattr(whole, split)) - len(getattr(clean, split)):
            bench.progress.log(f"{gone} {split} inputs stand in a held-out split too and take no part (task.leaks)")


def read_data(stage: Finished) -> TaskData:
    """The splits of a finished data stage."""
    return TaskData(**{split: _examples(stage.folder / f"{split}.jsonl") for split in SPLITS})


def taught_inputs(recipe: Recipe, data: TaskData) -> tuple[Example, ...]:
    """The inputs that pseudo-targets are for, in their order.

    Raises:
        DataError: if there is none.
    """
    kinds = {"labeled": data.labeled, "unlabeled": data.unlabeled}
    taught = tuple(
        example for kind, examples in kinds.items() if kind in recipe.pseudo_targets.inputs for example in examples
    )
    if not taught:
        raise DataError(
            f"pseudo_targets.inputs names {' and '.join(recipe.pseudo_targets.inputs)} inputs, and the task has none "
            "of them; name those it has, labeled or unlabeled, or give task.files the file"
        )
    return taught


def _load(recipe: Recipe) -> tuple[TaskData, Mapping[str, object]]:
    task = recipe.task
    if isinstance(task, ForecastTask):
        return forecast_task(**task.forecast.model_dump(), seed=recipe.seed), {}
    labeled, unlabeled, seed = task.labeled_inputs, task.unlabeled_inputs, recipe.seed
    if isinstance(task, HubTask):
        loaded = load_hub(task.hub, labeled_inputs=labeled, unlabeled_inputs=unlabeled, seed=seed)
    elif isinstance(task.files, Splits):
        paths = {name: path for name, path in task.files if path is not None}
        loaded = load_files(
            **paths,
            fields=task.fields,
            unreferenced=task.pseudo_references,
            labeled_inputs=labeled,
            unlabeled_inputs=unlabeled,
            seed=seed,
        )
    else:
        loaded = load_kd4gen(task.files.kd4gen, labeled_inputs=labeled, unlabeled_inputs=unlabeled, seed=seed)
    data = loaded.data
    if isinstance(task, FilesTask):
        data = hold_out(data, {split: count for split, count in task.held_out if count}, seed=seed)
    return data, dict(loaded.facts)


def _settings(recipe: Recipe) -> dict[str, object]:
    """What the splits depend on: for files their contents, not their places; for a data set of the hub its name."""
    task = recipe.task
    plain: dict[str, object] = {"leaks": task.leaks, "seed": recipe.seed}
    match task:
        case ForecastTask():
            return plain | {"forecast": task.forecast.model_dump()}
        case HubTask():
            folder = Path(task.hub.dataset)
            known = {"dataset": checksums(folder)} if folder.is_dir() else {}
            own: dict[str, object] = {"hub": task.hub.model_dump() | known}
        case FilesTask():
            # A missing file has no content to hash; loading it says so in its own words.
            contents = {name: checksum(path) for name, path in task.files if path is not None and path.is_file()}
            own = {
                "files": contents,
                "fields": task.fields.model_dump(),
                "held_out": task.held_out.model_dump(),
                "unreferenced": task.pseudo_references,
            }
    return plain | own | {"labeled_inputs": task.labeled_inputs, "unlabeled_inputs": task.unlabeled_inputs}


def _lines(examples: Iterable[Example]) -> str:
    return "".join(json.dumps(asdict(example), ensure_ascii=False) + "\n" for example in examples)


def _examples(path: Path) -> tuple[Example, ...]:
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return tuple(Example(row["id"], row["source"], tuple(row["targets"])) for row in rows)
