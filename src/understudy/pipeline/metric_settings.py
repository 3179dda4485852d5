"""The settings of metrics as fields of stages, and what they become when a metric is computed."""

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.config.task import BertScore, FilesTask, ForecastTask, Task
from understudy.custom_code import load_object, source_digest
from understudy.demo.forecast_check import check_bulletin
from understudy.errors import ConfigError
from understudy.evaluation.metrics import MetricContext, metric_named, prepare_metrics
from understudy.evaluation.slots import Checker
from understudy.models.checkpoint import config_of

EMBEDDED_CHECKER = "forecast"
SLOT_ERRORS = "slot_error_rate"


@dataclass(frozen=True)
class CodeSource:
    """Code that a recipe names, with a hash of its source."""

    spec: str
    digest: str


@dataclass(frozen=True)
class MetricSettings:
    """What metrics need besides outputs."""

    bertscore: BertScore | None
    checker: str | None
    """`forecast` for the embedded task, or code that the recipe names."""
    code: tuple[CodeSource, ...]
    """The metrics and the checker that are the user's own code."""


def metric_settings(task: Task, metrics: Sequence[str]) -> MetricSettings:
    """The settings that these metrics of a task need; those of other metrics are left out, so that they change nothing."""
    checker = EMBEDDED_CHECKER if isinstance(task, ForecastTask) else getattr(task, "checker", None)
    needs_checker = SLOT_ERRORS in metrics or any(":" in metric for metric in metrics)
    specs = [spec for spec in (*metrics, checker if needs_checker else None) if spec and ":" in spec]
    return MetricSettings(
        task.bertscore if "bertscore" in metrics else None,
        checker if needs_checker else None,
        tuple(CodeSource(spec, source_digest(spec)) for spec in dict.fromkeys(specs)),
    )


def metric_context(settings: MetricSettings, *, allow_code: bool) -> MetricContext:
    """What a metric's `prepare` is called with."""
    return MetricContext(checker=_checker(settings.checker, allow_code=allow_code), bertscore=settings.bertscore)


def check_metrics(task: Task, *, allow_code: bool) -> None:
    """Lets pass only metrics whose resources are at hand, before hours are spent on what they would score.

    Raises:
        ConfigError: for an unknown metric, or one that needs a checker the task does not have.
        EvaluationError: if WordNet is not on this machine.
        ModelError: if there is no such encoder.
    """
    for name in task.metrics:
        metric_named(name, allow_code=allow_code)
    settings = metric_settings(task, task.metrics)
    if SLOT_ERRORS in task.metrics and settings.checker is None:
        raise ConfigError(
            f"task.metrics names {SLOT_ERRORS}, which needs a checker of facts, and the task has none; set "
            "task.checker to code of your own, or remove the metric"
        )
    if settings.bertscore:
        config_of(settings.bertscore.model)  # reads no weights
    others = [name for name in task.metrics if name != "bertscore"]
    prepare_metrics(others, metric_context(settings, allow_code=allow_code), allow_code=allow_code)


def references_by_teacher(task: Task) -> tuple[str, ...]:
    """The splits whose references an API teacher writes."""
    return task.referenced_by_teacher if isinstance(task, FilesTask) else ()


def _checker(spec: str | None, *, allow_code: bool) -> Checker | None:
    if spec is None:
        return None
    if spec == EMBEDDED_CHECKER:
        return check_bulletin
    loaded: Checker = load_object(spec, allowed=allow_code)  # type: ignore[assignment]  # the user's function
    return loaded
