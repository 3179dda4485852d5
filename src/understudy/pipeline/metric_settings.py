"""The settings of metrics as fields of stages, and what they become when a metric is computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from understudy.config.task import BertScore, FilesTask, ForecastTask, GivenTask, Task
from understudy.custom_code import is_custom
from understudy.demo.forecast_check import check_bulletin
from understudy.errors import ConfigError
from understudy.evaluation.metrics import (
    Metric,
    MetricContext,
    metric_named,
    prepare_metrics,
    result_name,
    unknown_metrics,
    with_digest,
)
from understudy.evaluation.slots import Checker, checker_named
from understudy.pipeline.code_content import code_content
from understudy.pipeline.model_sources import checkpoint_content
from understudy.store import Content

SLOT_ERRORS = "slot_error_rate"


@dataclass(frozen=True)
class BertScoreEncoder:
    """The encoder of metric `bertscore`."""

    checkpoint: Content
    layer: int | None


@dataclass(frozen=True)
class MetricSettings:
    """What metrics need in addition to outputs."""

    bertscore: BertScoreEncoder | None
    checker: Literal["forecast"] | Content | None
    """That of the embedded task, or code that the recipe names."""
    code: tuple[tuple[str, Content], ...]
    """The metrics that are the user's own code, by what results call them."""
    prompt: str = ""
    """Where a metric reads it."""


def metric_settings(task: Task, metrics: Sequence[str]) -> MetricSettings:
    """The settings that these metrics of a task need; those of other metrics are left out: they change nothing."""
    checker: Literal["forecast"] | Content | None = "forecast" if isinstance(task, ForecastTask) else None
    custom = [name for name in metrics if is_custom(name)]
    needs_checker = SLOT_ERRORS in metrics or bool(custom)
    if isinstance(task, GivenTask) and task.checker and needs_checker:
        checker = code_content(task.checker)
    encoder = None
    if task.bertscore and ("bertscore" in metrics or custom):
        encoder = BertScoreEncoder(checkpoint_content(task.bertscore.model), task.bertscore.layer)
    return MetricSettings(
        encoder,
        checker if needs_checker else None,
        tuple((result_name(name), code_content(name)) for name in custom),
        task.prompt.replace("{source}", " ").strip() if custom or "source_invented" in metrics else "",
    )


def metric_context(settings: MetricSettings, *, allow_code: bool) -> MetricContext:
    """What a metric's `prepare` is called with."""
    encoder = settings.bertscore
    return MetricContext(
        checker=_checker(settings.checker, allow_code=allow_code),
        bertscore=BertScore(model=encoder.checkpoint.place, layer=encoder.layer) if encoder else None,
        prompt=settings.prompt,
    )


def load_metrics(
    names: Sequence[str], settings: MetricSettings, *, allow_code: bool
) -> dict[str, tuple[Metric, object]]:
    """The metrics that results call by these names, with their resources.

    Raises:
        ConfigError: if custom code is not allowed or not found, or the task lacks what a metric needs.
        EvaluationError: if data are missing on this machine.
        ModelError: if there is no such checkpoint.
    """
    specs = {name: content.place for name, content in settings.code}
    context = metric_context(settings, allow_code=allow_code)
    metrics = {name: metric_named(specs.get(name, name), allow_code=allow_code) for name in names}
    if SLOT_ERRORS in metrics and isinstance(settings.checker, Content):
        metrics[SLOT_ERRORS] = with_digest(metrics[SLOT_ERRORS], settings.checker.place)
    return {name: (metric, metric.prepare(context)) for name, metric in metrics.items()}


def check_metrics(task: Task, *, allow_code: bool) -> None:
    """Refuses metrics whose resources are missing, before any training.

    Raises:
        ConfigError: for an unknown metric, or one that needs what the task lacks.
        EvaluationError: if WordNet is not on this machine.
        ModelError: if there is no such encoder.
    """
    if messages := unknown_metrics(task.metrics):
        raise ConfigError("; ".join(messages))
    settings = metric_context(metric_settings(task, task.metrics), allow_code=allow_code)
    prepare_metrics(task.metrics, settings, allow_code=allow_code)


def needs_likelihood(task: Task, *, allow_code: bool) -> bool:
    """Whether a metric of the task, perhaps one of the user's own, needs the likelihood of references."""
    return any(metric_named(name, allow_code=allow_code).needs_likelihood for name in task.metrics)


def references_by_teacher(task: Task) -> tuple[str, ...]:
    """The splits whose references an API teacher writes."""
    return task.referenced_by_teacher if isinstance(task, FilesTask) else ()


def _checker(checker: Literal["forecast"] | Content | None, *, allow_code: bool) -> Checker | None:
    if checker == "forecast":
        return check_bulletin
    return checker_named(checker.place, allow_code=allow_code) if isinstance(checker, Content) else None
