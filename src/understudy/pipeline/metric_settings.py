"""The settings of metrics as fields of stages, and what they become when a metric is computed."""

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.config.task import BertScore, FilesTask, ForecastTask, GivenTask, Task
from understudy.custom_code import is_custom, source_digest
from understudy.demo.forecast_check import check_bulletin
from understudy.errors import ConfigError
from understudy.evaluation.metrics import MetricContext, prepare_metrics, unknown_metrics
from understudy.evaluation.slots import Checker, checker_named

EMBEDDED_CHECKER = "forecast"
SLOT_ERRORS = "slot_error_rate"


@dataclass(frozen=True)
class CodeSource:
    """Code that a recipe names, with a hash of its source."""

    spec: str
    digest: str


@dataclass(frozen=True)
class MetricSettings:
    """What metrics need in addition to outputs."""

    bertscore: BertScore | None
    checker: str | None
    """`forecast` for the embedded task, or code that the recipe names."""
    code: tuple[CodeSource, ...]
    """The metrics and the checker that are the user's own code."""


def metric_settings(task: Task, metrics: Sequence[str]) -> MetricSettings:
    """The settings that these metrics of a task need; those of other metrics are left out: they change nothing."""
    checker = EMBEDDED_CHECKER if isinstance(task, ForecastTask) else None
    if isinstance(task, GivenTask) and task.checker:
        checker = task.checker
    needs_checker = SLOT_ERRORS in metrics or any(map(is_custom, metrics))
    specs = [spec for spec in (*metrics, checker if needs_checker else None) if spec and is_custom(spec)]
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
        ConfigError: for an unknown metric, or one that needs what the task lacks.
        EvaluationError: if WordNet is not on this machine.
        ModelError: if there is no such encoder.
    """
    if messages := unknown_metrics(task.metrics):
        raise ConfigError("; ".join(messages))
    settings = metric_context(metric_settings(task, task.metrics), allow_code=allow_code)
    prepare_metrics(task.metrics, settings, allow_code=allow_code)


def references_by_teacher(task: Task) -> tuple[str, ...]:
    """The splits whose references an API teacher writes."""
    return task.referenced_by_teacher if isinstance(task, FilesTask) else ()


def _checker(spec: str | None, *, allow_code: bool) -> Checker | None:
    if spec == EMBEDDED_CHECKER:
        return check_bulletin
    return checker_named(spec, allow_code=allow_code) if spec else None
