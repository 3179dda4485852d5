"""The stages in which a student learns gold alone: the baseline, and the last fine-tuning of a distilled student."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from understudy.pipeline.model_sources import FromStage, ModelSource, load_source, load_task_tokenizer
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.training import NetworkTraining, TrainingFacts, TrainingSettings, resumable
from understudy.pipeline.training_data import gold_mixture
from understudy.store import Content, Stage, WorkerContext


@dataclass(frozen=True)
class FineTunedStage(Stage[TrainingFacts]):
    """The baseline: the same student, fine-tuned on the labels."""

    source: ModelSource
    labels: Content
    settings: TrainingSettings
    name: ClassVar[str] = "fine_tuned"
    version: ClassVar[int] = 2
    on_all_ranks: ClassVar[bool] = True

    def run(self, folder: Path, context: WorkerContext) -> TrainingFacts:
        """Trains the baseline."""
        return resumable(
            folder,
            context,
            lambda: _on_gold(
                self.source, self.labels, self.settings, context, title="fine-tune the student (baseline)"
            ),
        )


@dataclass(frozen=True)
class FinalFinetuneStage(Stage[TrainingFacts]):
    """The distilled student, fine-tuned on the labels; its weights are kept unless dev improves."""

    student: Stage[Any]
    labels: Content
    settings: TrainingSettings
    name: ClassVar[str] = "final_finetune"
    version: ClassVar[int] = 2
    on_all_ranks: ClassVar[bool] = True

    def run(self, folder: Path, context: WorkerContext) -> TrainingFacts:
        """Trains the student on gold."""
        return resumable(
            folder,
            context,
            lambda: _on_gold(
                FromStage(self.student),
                self.labels,
                self.settings,
                context,
                title="fine-tune the distilled student on gold",
                evaluate_start=True,
            ),
        )


def _on_gold(
    source: ModelSource,
    labels: Content,
    settings: TrainingSettings,
    context: WorkerContext,
    *,
    title: str,
    evaluate_start: bool = False,
) -> NetworkTraining:
    place = context.path(labels)
    tokenizer = load_task_tokenizer(source, settings.limits, context)
    return NetworkTraining(
        title=title,
        network=load_source(source, tokenizer, context),
        tokenizer=tokenizer,
        mixture=gold_mixture(
            load_split(place, "labeled"),
            tokenizer,
            settings.training,
            progress=context.progress,
        ),
        dev=load_split(place, "dev"),
        settings=settings,
        evaluate_start=evaluate_start,
    )
