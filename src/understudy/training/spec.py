"""The specification of one training: its loss, the teacher it compares with, and how dev is scored.

Axes: N target positions of a micro-batch, V vocabulary.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor
from transformers import PreTrainedModel

from understudy.objectives import Objective
from understudy.pool.logprob_cache import AnyLogprobs
from understudy.records import TextGenerator
from understudy.training.other_tokenizer import OtherTokenizer
from understudy.training.relation_loss import RelationLoss
from understudy.training.schedules import TAIDSchedule
from understudy.training.supervision import Supervision

ScoreDev = Callable[[PreTrainedModel], Mapping[str, float]]
"""Network -> its scores on dev by metric, perhaps with `DEV_LOSS`."""
DEV_LOSS = "dev_loss"
"""What scores and history call the mean negative log-likelihood of dev references, in nats per token."""


@dataclass(frozen=True)
class BoundObjective:
    """An objective with its settings."""

    objective: Objective
    settings: Mapping[str, float] = field(default_factory=dict)
    """Keyword arguments of its function."""

    def loss(self, student_logits_NV: Tensor, supervision: Supervision, t: float) -> Tensor:
        """The sum over the positions, in nats; `t` is for an objective whose target changes during training."""
        schedule = {"t": t} if self.objective.moves else {}
        match self.objective.needs:
            case "labels":
                pair = student_logits_NV, supervision.labels_N
            case "teacher_best":
                pair = student_logits_NV, supervision.argmax()
            case "teacher_logits":
                pair = supervision.logit_pair(student_logits_NV)
        return self.objective.function(*pair, **self.settings, **schedule)


@dataclass(frozen=True)
class LossSpec:
    """What training minimizes."""

    objective: BoundObjective
    vocab_size: int
    """Tokens of the tokenizer: further columns of the logits are padding and are ignored."""
    student_samples_objective: BoundObjective | None = None
    """The objective of student samples; None: `objective`."""
    taid_schedule: TAIDSchedule | None = None
    """The schedule of an objective whose target changes during training."""
    relation_loss: RelationLoss | None = None
    """Attention or hidden-state relations in addition to the objective; it needs a live teacher."""
    enable_teacher_dropout: bool = False
    """Whether the teacher's dropout is active (Noisy KD)."""
    enable_student_dropout: bool = True
    kept_tokens: int | None = None
    """Top-k truncation of cached teacher log-probabilities; None: the teacher is evaluated at every step."""
    top_p: float = 1.0
    """Top-p truncation within `kept_tokens`; 1: none."""

    @property
    def objectives(self) -> tuple[BoundObjective, ...]:
        """All objectives that are minimized."""
        return (self.objective, *((self.student_samples_objective,) if self.student_samples_objective else ()))

    @property
    def needs_teacher(self) -> bool:
        """Whether any objective compares with the teacher."""
        return any(bound.objective.needs != "labels" for bound in self.objectives)


@dataclass(frozen=True)
class TeacherSpec:
    """The teacher side of the comparison."""

    network: PreTrainedModel | None = None
    swapped_ends: tuple[int, int] | None = None
    """The ids that end a text of the teacher and of the student, where the tokens are the same and these differ."""
    logprob_caches: Mapping[TextGenerator, AnyLogprobs] = field(default_factory=dict)
    """Teacher log-probabilities of the texts that exist before training; used with `kept_tokens`."""
    other: OtherTokenizer | None = None
    """How the teacher reads the student's texts where its tokens are not the student's; only with `kept_tokens`."""


@dataclass(frozen=True)
class DevScoring:
    """How dev is scored, and which score selects the best weights."""

    score_dev: ScoreDev
    metric: str
    """The name, among the scores, of the one that selects."""
    higher_is_better: bool
    evaluate_start: bool = False
    """Whether the initial weights are evaluated too, so that training can only improve on them."""


@dataclass(frozen=True)
class TrainSpec:
    """All that defines a training except its data and its optimization settings."""

    loss: LossSpec
    teacher: TeacherSpec
    dev: DevScoring
