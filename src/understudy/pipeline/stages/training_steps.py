"""The stage that counts the steps of a training from the lengths of its texts, before any network is loaded.

Gold targets are counted as they are. Texts that do not exist yet, the teacher's and the student's, are given the
lengths of gold targets (or, where there are none, of the sources).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

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
from understudy.training.items import GENERATORS, TrainItems
from understudy.training.mixture import Mixture, plan_round
from understudy.training.targets_per_source import described, with_targets_per_source


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
    targets_per_source: str | None = None
    """How `auto` is resolved, as far as is known; None for a number of the recipe."""


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
    texts_per_input: int | None = None
    """With `targets_per_source: auto`, the texts that the teacher generates for an input; None: it generates none."""
    name: ClassVar[str] = "training_steps"

    @property
    def title(self) -> str:
        """What progress lines call the stage."""
        return f"count the steps of {self.training_name}"

    def run(self, folder: Path, context: WorkerContext) -> StepsFacts:  # noqa: ARG002 - all is in the facts
        """Plans the first epoch."""
        mixture = self._mixture(context)
        texts = {name: targets.texts for name, targets in mixture.targets.items()}
        lengths = {name: arrays.lengths for name, arrays in texts.items()}
        accumulation, steps, students, sizes = self.training.gradient_accumulation_steps, 0, 0, [(0, 0)]
        sources, planned = mixture.sources.lengths, []
        for number in range(mixture.rounds_per_epoch):
            items = plan_round(mixture, number=number, seed=0)
            of_student = items.of_generator("student")
            students += int(items.counts[of_student].sum())
            planned.append(with_expected_texts(items, of_student))
            batches = plan_batches(
                planned[-1],
                mixture.sources,
                texts,
                batch_tokens=self.training.batch_tokens,
                seed=(0, number),
                by_target=mixture.auto is not None,
            )
            steps += -(-len(batches) // accumulation)
            sizes += [_padded(batch, sources, lengths) for batch in batches]
        items = TrainItems.joined(*planned)
        targets = items.per_row(lengths)
        return StepsFacts(
            steps=steps * self.training.epochs,
            inputs=len(_used(mixture, items)),
            texts=len(targets),
            student_texts=students,
            source_tokens=int(sources[items.sources].sum()),
            target_tokens=int(targets.sum()),
            most_tokens=max(total for total, _ in sizes),
            most_targets=max(own for _, own in sizes),
            source_length=float(sources.mean()) if len(sources) else 0.0,
            target_length=float(targets.mean()) if len(targets) else 0.0,
            targets_per_source=described(mixture),
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
                self.training,
                progress=context.progress,
            )
        data = TaskData(**{**dict.fromkeys(("unlabeled", "withheld", "dev", "test"), ()), **splits})
        examples, shares = source_examples(data), self.mixture.shares
        sources = encoded_sources(examples, tokenizer, context.progress)
        gold = gold_targets(examples, tokenizer, context.progress)
        kinds = {"labeled": range(len(data.labeled)), "unlabeled": range(len(data.labeled), len(examples))}
        inputs = [index for kind in self.mixture.inputs for index in kinds[kind]]
        samples, requested = self.mixture.samples, self.training.targets_per_source
        each = (self.texts_per_input or 1) if requested == "auto" else requested
        mixture = Mixture(
            sources=sources,
            targets={"gold": gold, "teacher": expected_targets(sources, gold, self.limits, each=each)},
            shares={"gold": shares.gold, "teacher": shares.teacher, "student": shares.student},
            inputs=np.array(inputs, np.int64),
            rounds_per_epoch=samples.rounds_per_epoch if shares.student else 1,
        )
        return with_targets_per_source(
            mixture, requested, epochs=self.training.epochs, student_samples=self.mixture.samples_together
        )


def _used(mixture: Mixture, items: TrainItems) -> Ints:
    """The inputs of a training; with `auto` an epoch has a part of those with pseudo-targets."""
    pseudo_targets = mixture.shares.get("teacher", 0.0) + mixture.shares.get("student", 0.0)
    own = mixture.inputs if mixture.auto and pseudo_targets else items.sources
    return np.union1d(items.sources, own)


def expected_targets(sources: TokenArrays, gold: Targets, limits: TextLimits, *, each: int) -> Targets:
    """Texts for each source, as long as a gold target; where there are none, as a source."""
    known = gold.texts.lengths if len(gold.texts) else sources.lengths
    drawn = np.random.default_rng(0).choice(known, size=len(sources)).clip(1, limits.max_target_tokens)
    offsets = np.concatenate([[0], np.cumsum(np.repeat(drawn, each))])
    return Targets(TokenArrays(np.zeros(offsets[-1], np.int32), offsets), np.arange(len(sources) + 1) * each)


def with_expected_texts(items: TrainItems, of_student: NDArray[np.bool_]) -> TrainItems:
    """The items, those of student samples with the expected texts of their sources in their place."""
    sources = np.repeat(items.sources, items.counts)
    each = np.repeat(items.counts, items.counts)
    rows = np.where(np.repeat(of_student, items.counts), sources * each + items.rows, items.rows)
    generators = np.where(of_student, np.uint8(GENERATORS.index("teacher")), items.generators)
    return replace(items, generators=generators, rows=rows)


def _padded(batch: TrainItems, sources: Ints, lengths: Mapping[TextGenerator, Ints]) -> tuple[int, int]:
    """Padded tokens of a micro-batch, and its target positions."""
    targets = batch.per_row(lengths)
    return len(batch) * int(sources[batch.sources].max()) + len(targets) * int(targets.max()), int(targets.sum())
