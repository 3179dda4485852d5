"""Checks of what a recipe names: its engine, files, metrics and objectives. They take seconds and read no weights."""

from understudy.config.recipe import Recipe
from understudy.objectives import objective_of
from understudy.pipeline.metric_settings import check_metrics
from understudy.pipeline.recipe_files import check_engine, check_files


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
    check_files(recipe)
    check_metrics(recipe.task, allow_code=allow_code)
    for requested in recipe.distil.objectives:
        objective_of(requested, allow_code=allow_code)
