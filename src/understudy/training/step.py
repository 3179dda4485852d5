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
from understudy.models.attention import attention_heads, capture_attention
from understudy.models.forward import is_noisy, target_logits
from understudy.objectives import Objective
from understudy.pool.logprob_cache import TeacherLogprobs
from understudy.pool.token_arrays import TokenArrays
from understudy.records import TextGenerator
from understudy.training.batches import collate, positions
from understudy.training.checkpoints import Learner, TrainState
from understudy.training.mixture import Mixture, TrainItem
from understudy.training.relation_loss import RelationLoss
from understudy.training.schedules import TAIDSchedule
from understudy.training.supervision import Supervision, cached_logprobs_of

Precision = Literal["float32", "bf16"]
ScoreDev = Callable[[PreTrainedModel], Mapping[str, float]]
"""The network's scores on dev by metric."""


@dataclass(frozen=True)
class BoundObjective:
    """An objective with its settings."""

    objective: Objective
    settings: Mapping[str, float]
    """Its keyword arguments."""

    def of(self, student_logits_NV: Tensor, heard: Supervision, t: float) -> Tensor:
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
class TrainSpec:
    """What training minimises, and by which dev score its best weights are told."""

    measure: BoundObjective
    teacher: PreTrainedModel | None
    vocabulary: int
    """Tokens of the tokenizer: columns of logits beyond are padding and take no part."""
    score_dev: ScoreDev
    metric: str
    higher_is_better: bool
    judge_start: bool = False
    """Whether the weights training starts from compete on dev, so that it can only improve on them."""
    student_samples_objective: BoundObjective | None = None
    """For the texts of the student; None: the same as for all others."""
    enable_teacher_dropout: bool = False
    """Whether the teacher's dropout is on while it is listened to."""
    enable_student_dropout: bool = True
    """Whether the dropout of the network that learns is on."""
    moving: TAIDSchedule | None = None
    """How the target of an objective that moves does so."""
    kept_tokens: int | None = None
    """How many tokens of each of the teacher's distributions are kept, so that it listens to a text once; None: it
    listens at every step."""
    logprob_caches: Mapping[TextGenerator, TeacherLogprobs] = field(default_factory=dict)
    """What it kept of the texts that exist before training."""
    relating: RelationLoss | None = None
    """Relations beside the objective; the teacher must be listened to at every step."""

    @property
    def measures(self) -> tuple[BoundObjective, ...]:
        """All that are minimised."""
        return (self.measure, *((self.student_samples_objective,) if self.student_samples_objective else ()))

    @property
    def compares(self) -> bool:
        """Whether any of them needs the teacher."""
        return any(measure.objective.needs != "labels" for measure in self.measures)


@dataclass(frozen=True)
class RoundData:
    """What the lessons of a round speak of."""

    mixture: Mixture
    texts: Mapping[TextGenerator, TokenArrays]
    logprob_caches: Mapping[TextGenerator, TeacherLogprobs] = field(default_factory=dict)


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
class TrainContext(Learner):
    """What every step of one training uses."""

    teacher: TargetLogits | None
    goal: TrainSpec
    settings: Training
    pad: int

    @property
    def network(self) -> PreTrainedModel:
        """The student, unwrapped."""
        unwrapped: TargetLogits = self.accelerator.unwrap_model(self.model)
        return unwrapped.network


def update(
    lecture: TrainContext, micro_batches: Sequence[Sequence[TrainItem]], material: RoundData, standing: TrainState
) -> None:
    """One step of the optimizer.

    Each micro-batch's loss is divided by the target positions of the whole step, so that one micro-batch of eight
    lessons and eight of one give the same gradient.
    """
    count, total = sum(positions(lessons, material.texts) for lessons in micro_batches), 0.0
    moving = lecture.goal.moving
    t = moving.position(standing.schedule_state, standing.done) if moving else 1.0
    for lessons in micro_batches:
        loss = loss_of(lecture, lessons, material, memory=standing.schedule_state, t=t)
        lecture.accelerator.backward(loss / count)
        total += float(loss.detach())
    lecture.accelerator.clip_grad_norm_(lecture.model.parameters(), lecture.settings.max_grad_norm)
    lecture.optimizer.step()
    lecture.optimizer.zero_grad()
    if moving:
        standing.schedule_state.update(moving.after(standing.schedule_state, t, total / count))
    standing.loss_sum += total
    standing.step += 1
    standing.batch += len(micro_batches)
    standing.positions += count


def loss_of(
    lecture: TrainContext,
    lessons: Sequence[TrainItem],
    material: RoundData,
    *,
    memory: Mapping[str, float] = MappingProxyType({}),
    t: float = 1.0,
) -> Tensor:
    """What is minimised on one micro-batch: a sum in nats over its target positions; with relations, a scaled one."""
    divergence, relations = terms_of(lecture, lessons, material, t=t)
    relating = lecture.goal.relating
    return relating.mixed(divergence, relations, memory) if relating else divergence


def terms_of(
    lecture: TrainContext, lessons: Sequence[TrainItem], material: RoundData, *, t: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The divergence and the relations of one micro-batch, both sums over its target positions in nats."""
    goal = lecture.goal
    inputs = _inputs(lecture, lessons, material.mixture.sources, material.texts)
    lecture.model.train(goal.enable_student_dropout)
    with ExitStack() as ears:
        mine = theirs = None
        if goal.relating and lecture.teacher:
            mine = ears.enter_context(capture_attention(lecture.network))
            theirs = ears.enter_context(capture_attention(lecture.teacher.network))
        student_logits_NV = lecture.model(inputs)
        heard = _heard(lecture, lessons, material, inputs)
    divergence = _divergence(goal, student_logits_NV, heard, lessons, material, t)
    if not (goal.relating and lecture.teacher and mine and theirs):
        return divergence, torch.zeros_like(divergence)
    heads = attention_heads(lecture.teacher.network)
    return divergence, goal.relating.compare(mine.relations, theirs.relations, inputs, heads=heads)


def _divergence(
    goal: TrainSpec,
    student_logits_NV: Tensor,
    heard: Supervision,
    lessons: Sequence[TrainItem],
    material: RoundData,
    t: float,
) -> Tensor:
    if goal.student_samples_objective is None:
        return goal.measure.of(student_logits_NV, heard, t)
    own_N = torch.tensor(_written_by_student(lessons, material.texts), device=heard.labels_N.device)
    parts = ((goal.measure, ~own_N), (goal.student_samples_objective, own_N))
    return torch.stack(
        [measure.of(student_logits_NV[part_N], heard.part(part_N), t) for measure, part_N in parts]
    ).sum()


def _heard(
    lecture: TrainContext, lessons: Sequence[TrainItem], material: RoundData, inputs: Mapping[str, Tensor]
) -> Supervision:
    """What the teacher says of a micro-batch, now or when it was asked.

    Where teacher and student mark sources differently, the teacher hears the same targets after its own sources.
    """
    labels_N = inputs["target_ids_BT"][inputs["target_mask_BT"]]
    if not lecture.goal.compares:
        return Supervision(labels_N)
    if lecture.goal.kept_tokens:
        return Supervision(
            labels_N, kept=cached_logprobs_of(lessons, material.texts, material.logprob_caches, labels_N.device)
        )
    if lecture.teacher is None:
        return Supervision(labels_N)
    mixture = material.mixture
    own = (
        inputs
        if mixture.teacher_sources is None
        else _inputs(lecture, lessons, mixture.teacher_reading_sources, material.texts)
    )
    with torch.no_grad():
        return Supervision(labels_N, lecture.teacher.train(lecture.goal.enable_teacher_dropout)(own))


def live_teacher(goal: TrainSpec, accelerator: Accelerator, precision: Precision) -> TargetLogits | None:
    """The teacher as the loop hears it; None where no objective compares with it, or all it says is known.

    Raises:
        ObjectiveError: if it is needed and there is none, or is to be noisy and has no dropout.
    """
    if goal.teacher is None and goal.compares and not goal.kept_tokens:
        needing = next(m.objective.function.__name__ for m in goal.measures if m.objective.needs != "labels")
        raise ObjectiveError(f"{needing} compares with a teacher's logits; give it a teacher")
    if goal.teacher is None or not goal.compares:
        return None
    if goal.enable_teacher_dropout and not is_noisy(goal.teacher):
        raise ObjectiveError(
            "distil.enable_teacher_dropout turns on the teacher's dropout, and this teacher has none: it "
            "would say the same "
            "without; use method logits_kd, or a teacher with dropout in its config"
        )
    teacher = TargetLogits(goal.teacher, goal.vocabulary, precision).to(accelerator.device)
    return teacher.eval().requires_grad_(requires_grad=False)


def _inputs(
    lecture: TrainContext,
    lessons: Sequence[TrainItem],
    sources: TokenArrays,
    texts: Mapping[TextGenerator, TokenArrays],
) -> dict[str, Tensor]:
    return collate(lessons, sources, texts, pad=lecture.pad).inputs(lecture.accelerator.device)


def _written_by_student(lessons: Sequence[TrainItem], texts: Mapping[TextGenerator, TokenArrays]) -> list[bool]:
    """For each target position, in the order of a batch's rows, whether the student wrote its text."""
    return [
        lesson.generator == "student" for lesson in lessons for row in lesson.rows for _ in texts[lesson.generator][row]
    ]
