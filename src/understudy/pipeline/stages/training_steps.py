"""The stage that counts the steps of a training from the lengths of its texts, before any network is loaded.

Gold targets are counted as they are. Texts that do not exist yet, the teacher's and the student's, are given the
lengths of gold targets (or, where there are none, of the sources).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from understudy.columns import Examples
from understudy.config.training import Training
from understudy.models.task_tokenizer import TextLimits
from understudy.pipeline.model_sources import TokenizerSource, load_task_tokenizer
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.examples import ExamplesStage
from understudy.pipeline.training_data import (
    MixtureSettings,
    encoded_sources,
    gold_mixture,
    gold_targets,
    source_examples,
)
from understudy.pool.token_arrays import Ints, Targets, TokenArrays
from understudy.records import TaskData, TextGenerator
from understudy.store import Content, Stage, WorkerContext
from understudy.training.batches import plan_batches
from understudy.training.mixture import Mixture, TrainItem, plan_round


@dataclass(frozen=True)
class StepsFacts:
    """The size of a training; its texts are those of one epoch, early stopping is not foreseen."""

    steps: int
    inputs: int
    texts: int
    student_texts: int
    """Those of them that the student generates."""
    source_tokens: int
    """Once per encoder pass."""
    target_tokens: int
    most_tokens: int
    """Padded tokens of the largest micro-batch."""
    most_targets: int
    """Its target positions."""
    source_length: float
    """Mean tokens of a source."""
    target_length: float
    """Mean tokens of a target."""


@dataclass(frozen=True)
class TrainingStepsStage(Stage[StepsFacts]):
    """The number of optimizer steps of a training, the same for all seeds."""

    training_name: str
    """The name of the stage that trains."""
    tokens: TokenizerSource
    examples: Content | ExamplesStage
    """The labeled examples, or all for a distillation."""
    splits: tuple[str, ...]
    limits: TextLimits
    training: Training
    mixture: MixtureSettings | None
    """None: gold alone."""
    name: ClassVar[str] = "training_steps"

    @property
    def title(self) -> str:
        """What progress lines call the stage."""
        return f"count the steps of {self.training_name}"

    def run(self, folder: Path, context: WorkerContext) -> StepsFacts:  # noqa: ARG002 - all is in the facts
        """Plans the first epoch."""
        mixture = self._mixture(context)
        rounds = [plan_round(mixture, number=number, seed=0) for number in range(mixture.rounds_per_epoch)]
        planned = [[with_expected_text(item) for item in items] for items in rounds]
        texts = {name: targets.texts for name, targets in mixture.targets.items()}
        accumulation, steps = self.training.gradient_accumulation_steps, 0
        batches: list[list[TrainItem]] = []
        for number, items in enumerate(planned):
            own = plan_batches(items, mixture.sources, texts, batch_tokens=self.training.batch_tokens, seed=(0, number))
            steps += -(-len(own) // accumulation)
            batches += own
        items = [item for batch in batches for item in batch]
        sources = mixture.sources.lengths
        lengths = {name: arrays.lengths for name, arrays in texts.items()}
        targets = [int(lengths[item.generator][row]) for item in items for row in item.rows]
        sizes = [_padded(batch, sources, lengths) for batch in batches]
        return StepsFacts(
            steps=steps * self.training.epochs,
            inputs=len({item.source for item in items}),
            texts=len(targets),
            student_texts=sum(len(item.rows) for items in rounds for item in items if item.generator == "student"),
            source_tokens=int(sum(sources[item.source] for item in items)),
            target_tokens=sum(targets),
            most_tokens=max((total for total, _ in sizes), default=0),
            most_targets=max((own for _, own in sizes), default=0),
            source_length=float(sources.mean()) if len(sources) else 0.0,
            target_length=float(np.mean(targets)) if targets else 0.0,
        )

    def _mixture(self, context: WorkerContext) -> Mixture:
        place = context.folder(self.examples) if isinstance(self.examples, Stage) else context.path(self.examples)
        tokenizer = load_task_tokenizer(self.tokens, self.limits, context)
        splits = {split: load_split(place, split) for split in self.splits}
        if self.mixture is None:
            examples = Examples.joined(*splits.values())
            return gold_mixture(
                examples,
                tokenizer,
                targets_per_source=self.training.targets_per_source,
                progress=context.progress,
            )
        data = TaskData(**{**dict.fromkeys(("unlabeled", "withheld", "dev", "test"), ()), **splits})
        examples, shares = source_examples(data), self.mixture.shares
        sources = encoded_sources(examples, tokenizer, context.progress)
        gold = gold_targets(examples, tokenizer, context.progress)
        kinds = {"labeled": range(len(data.labeled)), "unlabeled": range(len(data.labeled), len(examples))}
        inputs = [index for kind in self.mixture.inputs for index in kinds[kind]]
        samples, each = self.mixture.samples, self.training.targets_per_source
        return Mixture(
            sources=sources,
            targets={"gold": gold, "teacher": expected_targets(sources, gold, self.limits, each=each)},
            shares={"gold": shares.gold, "teacher": shares.teacher, "student": shares.student},
            inputs=np.array(inputs, np.int64),
            targets_per_source=each,
            rounds_per_epoch=samples.rounds_per_epoch if shares.student else 1,
        )


def expected_targets(sources: TokenArrays, gold: Targets, limits: TextLimits, *, each: int) -> Targets:
    """Texts for each source, as long as a gold target; where there are none, as a source."""
    known = gold.texts.lengths if len(gold.texts) else sources.lengths
    drawn = np.random.default_rng(0).choice(known, size=len(sources)).clip(1, limits.max_target_tokens)
    offsets = np.concatenate([[0], np.cumsum(np.repeat(drawn, each))])
    return Targets(TokenArrays(np.zeros(offsets[-1], np.int32), offsets), np.arange(len(sources) + 1) * each)


def with_expected_text(item: TrainItem) -> TrainItem:
    """An item of student samples, with the expected texts of its source in their place."""
    if item.generator != "student":
        return item
    each = len(item.rows)
    return item._replace(generator="teacher", rows=tuple(range(item.source * each, (item.source + 1) * each)))


def _padded(batch: Sequence[TrainItem], sources: Ints, lengths: Mapping[TextGenerator, Ints]) -> tuple[int, int]:
    """Padded tokens of a micro-batch, and its target positions."""
    targets = [int(lengths[item.generator][row]) for item in batch for row in item.rows]
    own = len(targets) * max(targets)
    return len(batch) * int(max(sources[item.source] for item in batch)) + own, sum(targets)
