"""Checks of what a recipe names: its engine, files, metrics and objectives. They take seconds and read no weights."""

from understudy.config.recipe import Recipe
from understudy.config.task import FilesTask, Kd4gen
from understudy.errors import unknown_name
from understudy.generation import ENGINES
from understudy.objectives import objective_of
from understudy.pipeline.metric_settings import check_metrics
from understudy.tasks.file_formats import reader_of
from understudy.tasks.text_lines import check_file


def check_names(recipe: Recipe, *, allow_code: bool) -> None:
    """Refuses a recipe whose engine, files, metrics or objectives cannot be used, before a model is looked for.

    Raises:
        ConfigError: for an unknown name, code that is not allowed or not found, or a metric that needs what the task
            lacks.
        DataError: if a data file is missing, or its format unknown.
        EvaluationError: if data of a metric are missing on this machine.
        ModelError: if there is no such encoder.
    """
    check_engine(recipe.engine)
    if isinstance(recipe.task, FilesTask):
        check_data_files(recipe.task)
    check_metrics(recipe.task, allow_code=allow_code)
    for requested in recipe.distil.objectives:
        objective_of(requested, allow_code=allow_code)


def check_data_files(task: FilesTask) -> None:
    """Refuses files that are missing, cannot be opened, or have an unknown format.

    Raises:
        DataError: naming the file.
    """
    if isinstance(task.files, Kd4gen):
        check_file(task.files.kd4gen)
        return
    for path in (*dict(task.files).values(), task.format.batch_requests):
        if path is not None:
            reader_of(path)


def check_engine(name: str) -> None:
    """Refuses an unknown engine.

    Raises:
        ConfigError: naming these.
    """
    if name != "auto" and name not in ENGINES:
        raise unknown_name("engine", name, ["auto", *ENGINES])
