"""The stage that says by which metrics a task is scored: those the recipe names, or the default ones that can work."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from understudy.config.recipe import Recipe
from understudy.errors import ConfigError
from understudy.evaluation.reference_checks import metric_problem, working_metrics
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.examples import ExamplesStage
from understudy.pipeline.stages.predictions import SCORED_SPLITS
from understudy.store import Stage, WorkerContext


@dataclass(frozen=True)
class MetricChoiceFacts:
    """The metrics, as the recipe names them."""

    metrics: tuple[str, ...]
    primary_metric: str


@dataclass(frozen=True)
class MetricChoiceStage(Stage[MetricChoiceFacts]):
    """The metrics of a task. It depends on the references of dev and test."""

    examples: ExamplesStage
    metrics: tuple[str, ...]
    primary_metric: str
    named: tuple[str, ...]
    """The metrics that the recipe names itself, which are refused rather than replaced."""
    name: ClassVar[str] = "metric_choice"

    def run(self, folder: Path, context: WorkerContext) -> MetricChoiceFacts:  # noqa: ARG002 - it writes no file
        """Chooses the metrics.

        Raises:
            ConfigError: if a metric that the recipe names cannot score the references of dev or test.
        """
        splits = [load_split(context.folder(self.examples), split) for split in SCORED_SPLITS]
        problems = {
            problem
            for split in splits
            for name in self.named
            if (problem := metric_problem(name, [example.targets for example in split]))
        }
        if problems:
            raise ConfigError("; ".join(sorted(problems)))
        metrics = self.metrics
        if set(metrics) - set(self.named):
            for split in splits:
                metrics = working_metrics(metrics, [example.targets for example in split])
        primary = self.primary_metric if self.primary_metric in metrics else metrics[0]
        if metrics != self.metrics:
            context.progress.log(f"the references are too short for the default metrics; used are {', '.join(metrics)}")
        return MetricChoiceFacts(metrics, primary)


def metric_choice(recipe: Recipe, examples: ExamplesStage) -> MetricChoiceStage:
    """The stage of a recipe's metrics."""
    task = recipe.task
    given = task.model_fields_set
    named = {
        *(task.metrics if "metrics" in given else ()),
        *({task.primary_metric} if "primary_metric" in given else ()),
    }
    return MetricChoiceStage(examples, task.metrics, task.primary_metric, tuple(sorted(named)))


def with_metrics(recipe: Recipe, choice: MetricChoiceFacts) -> Recipe:
    """The recipe with the metrics that were chosen."""
    chosen = {"metrics": choice.metrics, "primary_metric": choice.primary_metric}
    return recipe.model_copy(update={"task": recipe.task.model_copy(update=chosen)})
