"""The files and folders that a recipe names. Reads none of them, and loads no torch."""

from collections.abc import Iterator
from pathlib import Path

from understudy.config.decoding import ENGINE_NAMES
from understudy.config.recipe import Recipe
from understudy.config.task import FilesTask, HubTask, Kd4gen, Splits
from understudy.errors import ConfigError, unknown_name
from understudy.evaluation.metrics import unknown_metrics
from understudy.tasks.file_formats import reader_of
from understudy.tasks.text_lines import check_file


def recipe_files(recipe: Recipe) -> Iterator[Path]:
    """The files and folders of a recipe that exist: data, checkpoints, recorded responses."""
    named: list[Path] = []
    if isinstance(recipe.task, FilesTask):
        files = recipe.task.files
        named += [path for _, path in files if path] if isinstance(files, Splits) else [files.kd4gen]
        requests = recipe.task.format.batch_requests
        named += [requests] if requests else []
    if isinstance(recipe.task, HubTask):
        named.append(Path(recipe.task.hub.dataset))
    for section in (recipe.teacher, recipe.student):
        named += [Path(section.model)] if hasattr(section, "model") else []
    recorded = getattr(getattr(recipe.teacher, "endpoint", None), "recorded", None)
    named += [recorded] if recorded else []
    yield from (path for path in named if path.exists())


def check_files(recipe: Recipe) -> None:
    """Refuses data files that are missing, cannot be opened, or have an unknown format.

    Raises:
        DataError: naming the file.
    """
    if not isinstance(recipe.task, FilesTask):
        return
    files = recipe.task.files
    if isinstance(files, Kd4gen):
        check_file(files.kd4gen)
        return
    for path in (*dict(files).values(), recipe.task.format.batch_requests):
        if path is not None:
            reader_of(path)


def check_early(recipe: Recipe) -> None:
    """What can be refused before torch is loaded: data files, and names of engines and metrics that are in no table.

    Raises:
        ConfigError: naming the engine or the metrics.
        DataError: naming the file.
    """
    check_engine(recipe.engine)
    check_files(recipe)
    check_metric_names(recipe)


def check_engine(name: str) -> None:
    """Refuses an unknown engine.

    Raises:
        ConfigError: naming the known ones.
    """
    if name not in ENGINE_NAMES:
        raise unknown_name("engine", name, ENGINE_NAMES)


def check_metric_names(recipe: Recipe) -> None:
    """Refuses metrics that are in no table.

    Raises:
        ConfigError: naming them.
    """
    if messages := unknown_metrics(recipe.task.metrics):
        raise ConfigError("; ".join(messages))
