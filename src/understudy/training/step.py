"""One step of the optimizer: micro-batches in, a loss in nats per target position out.

Axes: N target positions of a micro-batch, V vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedModel

from understudy.config.training import Training
from understudy.errors import ObjectiveError
from understudy.models.attention import attention_heads, listening
from understudy.models.forward import is_noisy, target_logits
from understudy.objectives import Objective
from understudy.pool.signal import Signal
from understudy.records import Generator
from understudy.training.batches import collate, positions
from understudy.training.checkpoints import Learner, Standing
from understudy.training.heard import Heard, kept_of
from understudy.training.mixture import Lesson, Mixture
from understudy.training.relating import Relating
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

    def of(self, student_logits_NV: Tensor, heard: Heard, t: float) -> Tensor:
        """Its sum in nats over the positions; `t` is for the objective whose target moves."""
        moving = {"t": t} if self.objective.moves else {}
        match self.objective.needs:
            case "labels":
                compared = student_logits_NV, heard.labels_N
            case "teacher_best":
                compared = student_logits_NV, heard.best()
            case "teacher_logits":
                compared = heard.beside(student_logits_NV)
        return self.objective.function(*compared, **self.settings, **moving)


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
    noisy_student: bool = True
    """Whether the dropout of the network that learns is on."""
    moving: Moving | None = None
    """How the target of an objective that moves does so."""
    kept_tokens: int | None = None
    """How many tokens of each of the teacher's distributions are kept, so that it listens to a text once; None: it
    listens at every step."""
    signals: Mapping[Generator, Signal] = field(default_factory=dict)
    """What it kept of the texts that exist before training."""
    relating: Relating | None = None
    """Relations beside the objective; the teacher must be listened to at every step."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """All that are minimised."""
        return (self.measure, *((self.on_student_text,) if self.on_student_text else ()))

    @property
    def compares(self) -> bool:
        """Whether any of them needs the teacher."""
        return any(measure.objective.needs != "labels" for measure in self.measures)


@dataclass(frozen=True)
class Material:
    """What the lessons of a round speak of."""

    mixture: Mixture
    texts: Mapping[Generator, Texts]
    signals: Mapping[Generator, Signal] = field(default_factory=dict)


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
class Lecture(Learner):
    """What every step of one training uses."""

    teacher: TargetLogits | None
    goal: Goal
    settings: Training
    pad: int

    @property
    def network(self) -> PreTrainedModel:
        """The student, unwrapped."""
        unwrapped: TargetLogits = self.accelerator.unwrap_model(self.model)
        return unwrapped.network


def update(lecture: Lecture, micro_batches: Sequence[Sequence[Lesson]], material: Material, standing: Standing) -> None:
    """One step of the optimizer.

    Each micro-batch's loss is divided by the target positions of the whole step, so that one micro-batch of eight
    lessons and eight of one give the same gradient.
    """
    count, total = sum(positions(lessons, material.texts) for lessons in micro_batches), 0.0
    moving = lecture.goal.moving
    t = moving.position(standing.memory, standing.done) if moving else 1.0
    for lessons in micro_batches:
        loss = loss_of(lecture, lessons, material, memory=standing.memory, t=t)
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
    lecture: Lecture,
    lessons: Sequence[Lesson],
    material: Material,
    *,
    memory: Mapping[str, float] = MappingProxyType({}),
    t: float = 1.0,
) -> Tensor:
    """What is minimised on one micro-batch: a sum in nats over its target positions; with relations, a scaled one."""
    divergence, relations = terms_of(lecture, lessons, material, t=t)
    relating = lecture.goal.relating
    return relating.mixed(divergence, relations, memory) if relating else divergence


def terms_of(
    lecture: Lecture, lessons: Sequence[Lesson], material: Material, *, t: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The divergence and the relations of one micro-batch, both sums over its target positions in nats."""
    goal = lecture.goal
    inputs = _inputs(lecture, lessons, material.mixture.sources, material.texts)
    lecture.model.train(goal.noisy_student)
    with ExitStack() as ears:
        mine = theirs = None
        if goal.relating and lecture.teacher:
            mine = ears.enter_context(listening(lecture.network))
            theirs = ears.enter_context(listening(lecture.teacher.network))
        student_logits_NV = lecture.model(inputs)
        heard = _heard(lecture, lessons, material, inputs)
    divergence = _divergence(goal, student_logits_NV, heard, lessons, material, t)
    if not (goal.relating and lecture.teacher and mine and theirs):
        return divergence, torch.zeros_like(divergence)
    heads = attention_heads(lecture.teacher.network)
    return divergence, goal.relating.compare(mine.relations, theirs.relations, inputs, heads=heads)


def _divergence(
    goal: Goal, student_logits_NV: Tensor, heard: Heard, lessons: Sequence[Lesson], material: Material, t: float
) -> Tensor:
    if goal.on_student_text is None:
        return goal.measure.of(student_logits_NV, heard, t)
    own_N = torch.tensor(_written_by_student(lessons, material.texts), device=heard.labels_N.device)
    parts = ((goal.measure, ~own_N), (goal.on_student_text, own_N))
    return torch.stack(
        [measure.of(student_logits_NV[part_N], heard.part(part_N), t) for measure, part_N in parts]
    ).sum()


def _heard(lecture: Lecture, lessons: Sequence[Lesson], material: Material, inputs: Mapping[str, Tensor]) -> Heard:
    """What the teacher says of a micro-batch, now or when it was asked.

    Where teacher and student mark sources differently, the teacher hears the same targets after its own sources.
    """
    labels_N = inputs["target_ids_BT"][inputs["target_mask_BT"]]
    if not lecture.goal.compares:
        return Heard(labels_N)
    if lecture.goal.kept_tokens:
        return Heard(labels_N, kept=kept_of(lessons, material.texts, material.signals, labels_N.device))
    if lecture.teacher is None:
        return Heard(labels_N)
    mixture = material.mixture
    own = (
        inputs if mixture.teacher_sources is None else _inputs(lecture, lessons, mixture.heard_sources, material.texts)
    )
    with torch.no_grad():
        return Heard(labels_N, lecture.teacher.train(lecture.goal.noisy_teacher)(own))


def live_teacher(goal: Goal, accelerator: Accelerator, precision: Precision) -> TargetLogits | None:
    """The teacher as the loop hears it; None where no objective compares with it, or all it says is known.

    Raises:
        ObjectiveError: if it is needed and there is none, or is to be noisy and has no dropout.
    """
    if goal.teacher is None and goal.compares and not goal.kept_tokens:
        needing = next(m.objective.function.__name__ for m in goal.measures if m.objective.needs != "labels")
        raise ObjectiveError(f"{needing} compares with a teacher's logits; give it a teacher")
    if goal.teacher is None or not goal.compares:
        return None
    if goal.noisy_teacher and not is_noisy(goal.teacher):
        raise ObjectiveError(
            "distil.noisy_teacher turns on the teacher's dropout, and this teacher has none: it would say the same "
            "without; use method logits_kd, or a teacher with dropout in its config"
        )
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
