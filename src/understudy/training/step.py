"""One step of the optimizer: micro-batches in, a loss in nats per target position out.

Axes: N target positions of a micro-batch, V vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedModel

from understudy.config.training import Training
from understudy.errors import ObjectiveError
from understudy.models.forward import target_logits
from understudy.objectives import Objective
from understudy.records import Generator
from understudy.training.batches import collate, positions
from understudy.training.checkpoints import Standing
from understudy.training.mixture import Lesson, Mixture
from understudy.training.schedules import Moving
from understudy.training.texts import Texts

Precision = Literal["float32", "bf16"]
ScoreDev = Callable[[PreTrainedModel], Mapping[str, float]]
"""The network's scores on dev by metric."""


@dataclass(frozen=True)
class Measure:
    """An objective with its settings."""

    objective: Objective
    settings: Mapping[str, float]
    """Its keyword arguments."""

    def of(self, student_logits_NV: Tensor, labels_N: Tensor, teacher_logits_NV: Tensor | None, t: float) -> Tensor:
        """Its sum in nats over the positions; `t` is for the objective whose target moves."""
        compared_with = labels_N if self.objective.needs == "labels" else teacher_logits_NV
        moving = {"t": t} if self.objective.moves else {}
        return self.objective.function(student_logits_NV, compared_with, **self.settings, **moving)


@dataclass(frozen=True)
class Goal:
    """What training minimises, and by which dev score its best weights are told."""

    measure: Measure
    teacher: PreTrainedModel | None
    vocabulary: int
    """Tokens of the tokenizer: columns of logits beyond are padding and take no part."""
    score_dev: ScoreDev
    metric: str
    higher_is_better: bool
    judge_start: bool = False
    """Whether the weights training starts from compete on dev, so that it can only improve on them."""
    on_student_text: Measure | None = None
    """For the texts of the student; None: the same as for all others."""
    noisy_teacher: bool = False
    """Whether the teacher's dropout is on while it is listened to."""
    moving: Moving | None = None
    """How the target of an objective that moves does so."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """All that are minimised."""
        return (self.measure, *((self.on_student_text,) if self.on_student_text else ()))


class TargetLogits(nn.Module):
    """A network as the loop sees it: micro-batch in, logits at the target positions out."""

    def __init__(self, network: PreTrainedModel, vocabulary: int, precision: Precision) -> None:
        super().__init__()
        self.network = network
        self.vocabulary = vocabulary
        self.precision = precision

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The logits at the N target positions, (N, V)."""
        # Not accelerate's own autocast: that holds one precision for all trainings of a process.
        with torch.autocast(inputs["source_ids_SL"].device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return target_logits(self.network, **inputs)[:, : self.vocabulary]


@dataclass(frozen=True)
class Lecture:
    """What every step of one training uses."""

    accelerator: Accelerator
    model: nn.Module
    optimizer: torch.optim.Optimizer
    teacher: TargetLogits | None
    goal: Goal
    settings: Training
    pad: int


def update(
    lecture: Lecture,
    micro_batches: Sequence[Sequence[Lesson]],
    mixture: Mixture,
    texts: Mapping[Generator, Texts],
    standing: Standing,
) -> None:
    """One step of the optimizer.

    Each micro-batch's loss is divided by the target positions of the whole step, so that one micro-batch of eight
    lessons and eight of one give the same gradient.
    """
    count, total = sum(positions(lessons, texts) for lessons in micro_batches), 0.0
    moving = lecture.goal.moving
    t = moving.position(standing.memory, standing.done) if moving else 1.0
    for lessons in micro_batches:
        loss = loss_of(lecture, lessons, mixture, texts, t)
        lecture.accelerator.backward(loss / count)
        total += float(loss.detach())
    lecture.accelerator.clip_grad_norm_(lecture.model.parameters(), lecture.settings.max_grad_norm)
    lecture.optimizer.step()
    lecture.optimizer.zero_grad()
    if moving:
        standing.memory.update(moving.after(standing.memory, t, total / count))
    standing.loss_sum += total
    standing.step += 1
    standing.batch += len(micro_batches)
    standing.positions += count


def loss_of(
    lecture: Lecture, lessons: Sequence[Lesson], mixture: Mixture, texts: Mapping[Generator, Texts], t: float = 1.0
) -> Tensor:
    """What is minimised on one micro-batch: a sum in nats over its target positions.

    Where teacher and student mark sources differently, the teacher hears the same targets after its own sources.
    """
    goal = lecture.goal
    inputs = _inputs(lecture, lessons, mixture.sources, texts)
    labels_N = inputs["target_ids_BT"][inputs["target_mask_BT"]]
    lecture.model.train()
    student_logits_NV = lecture.model(inputs)
    teacher_logits_NV = None
    if lecture.teacher is not None:
        other = mixture.teacher_sources
        heard = inputs if other is None else _inputs(lecture, lessons, other, texts)
        with torch.no_grad():
            teacher_logits_NV = lecture.teacher.train(goal.noisy_teacher)(heard)
    if goal.on_student_text is None:
        return goal.measure.of(student_logits_NV, labels_N, teacher_logits_NV, t)
    own_N = torch.tensor(_written_by_student(lessons, texts), device=labels_N.device)
    parts = ((goal.measure, ~own_N), (goal.on_student_text, own_N))
    return torch.stack(
        [
            measure.of(
                student_logits_NV[part_N],
                labels_N[part_N],
                None if teacher_logits_NV is None else teacher_logits_NV[part_N],
                t,
            )
            for measure, part_N in parts
        ]
    ).sum()


def listener(goal: Goal, accelerator: Accelerator, precision: Precision) -> TargetLogits | None:
    """The teacher as the loop hears it; None where no objective compares with it.

    Raises:
        ObjectiveError: if one does and there is no teacher.
    """
    needing = [m.objective.function.__name__ for m in goal.measures if m.objective.needs == "teacher_logits"]
    if not needing:
        return None
    if goal.teacher is None:
        raise ObjectiveError(f"{needing[0]} compares with a teacher's logits; give it a teacher")
    teacher = TargetLogits(goal.teacher, goal.vocabulary, precision).to(accelerator.device)
    return teacher.eval().requires_grad_(requires_grad=False)


def _inputs(
    lecture: Lecture, lessons: Sequence[Lesson], sources: Texts, texts: Mapping[Generator, Texts]
) -> dict[str, Tensor]:
    return collate(lessons, sources, texts, pad=lecture.pad).inputs(lecture.accelerator.device)


def _written_by_student(lessons: Sequence[Lesson], texts: Mapping[Generator, Texts]) -> list[bool]:
    """For each target position, in the order of a batch's rows, whether the student wrote its text."""
    return [
        lesson.generator == "student" for lesson in lessons for row in lesson.rows for _ in texts[lesson.generator][row]
    ]
