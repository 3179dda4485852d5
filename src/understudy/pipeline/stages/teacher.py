"""The stage of a local teacher: fine-tuned on the labels it may use, or used as it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from understudy.columns import Examples
from understudy.models.checkpoint import save_network
from understudy.models.task_tokenizer import TextLimits
from understudy.pipeline.context import NETWORK
from understudy.pipeline.model_sources import FromCheckpoint, ModelSource, load_source, load_task_tokenizer
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.training import NetworkTraining, TrainingFacts, TrainingSettings, resumable
from understudy.pipeline.training_data import gold_mixture
from understudy.store import Content, Stage, WorkerContext


@dataclass(frozen=True)
class TeacherStage(Stage[TrainingFacts]):
    """The teacher's network.

    Only the labels that it learns are in the key, so a task with more unlabeled inputs has the same teacher (unless
    its tokenizer is trained on them).
    """

    source: ModelSource
    limits: TextLimits
    labels: Content | None = None
    """Labeled, dev and, where the teacher may use them, withheld examples; None: used as it is."""
    with_withheld: bool = False
    settings: TrainingSettings | None = None
    name: ClassVar[str] = "teacher"
    version: ClassVar[int] = 2
    on_all_ranks: ClassVar[bool] = True

    def run(self, folder: Path, context: WorkerContext) -> TrainingFacts:
        """Fine-tunes the network, or saves it as it is."""
        settings, labels = self.settings, self.labels
        if settings is None or labels is None:
            tokenizer = load_task_tokenizer(self.source, self.limits, context)
            network = load_source(self.source, tokenizer, context)
            save_network(network, tokenizer.tokenizer, folder / NETWORK)
            return TrainingFacts()

        def load() -> NetworkTraining:
            place = context.path(labels)
            examples = Examples.joined(
                load_split(place, "labeled"), load_split(place, "withheld") if self.with_withheld else ()
            )
            tokenizer = load_task_tokenizer(self.source, self.limits, context)
            return NetworkTraining(
                title="fine-tune the teacher",
                network=load_source(self.source, tokenizer, context),
                tokenizer=tokenizer,
                mixture=gold_mixture(examples, tokenizer, settings.training, progress=context.progress),
                dev=load_split(place, "dev"),
                settings=settings,
                evaluate_start=isinstance(self.source, FromCheckpoint),
            )

        return resumable(folder, context, load)
