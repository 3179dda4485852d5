"""Distillation settings: where the target texts come from, which objective is minimized, on which schedule."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from understudy.config.decoding import Decoding, Sampling
from understudy.config.numbers import CountFromZero, Real, Rounds, ShareAboveZero, ShareBelowOne, TokenCount, Weight
from understudy.config.objectives import AnyObjective, CrossEntropy
from understudy.config.section import Section
from understudy.config.training import Training, WeightType


class Shares(Section):
    """Shares of the target texts of an epoch by origin; only their proportions matter."""

    gold: Weight = 0.0
    """Share of human-written targets."""
    teacher: Weight = 0.0
    """Share of the teacher's pseudo-targets."""
    student: Weight = 0.0
    """Share of texts sampled from the student itself."""

    def conflicts(self) -> Iterator[str]:
        """At least one share is above 0."""
        if self.gold + self.teacher + self.student == 0:
            yield "gold, teacher and student are all 0, so there are no target texts; set at least one above 0"


class Constant(Section):
    """The student's share is the one in `targets` throughout training."""

    kind: Literal["constant"] = "constant"


class Growing(Section):
    """The student's share grows from 0 as 1 - base^(-t), t being the finished share of training (Lin et al. 2020)."""

    kind: Literal["growing"] = "growing"
    base: Annotated[Real, Field(gt=1)] = 200.0
    """Base of the exponential; a larger one grows faster."""


class Adaptive(Section):
    """The student's share starts at 0 and rises whenever the dev score gets worse (Ko et al. 2024)."""

    kind: Literal["adaptive"] = "adaptive"
    step: ShareAboveZero = 0.1
    """Amount by which the share rises."""


class StudentSampling(Section):
    """How texts are sampled from the student during its own training."""

    decoding: Decoding = Sampling()
    """How the texts are generated."""
    rounds_per_epoch: Rounds = 1
    """Times per epoch that new texts are generated with the current weights."""
    start: ShareBelowOne = 0.0
    """Share of training during which the teacher's texts take the place of the student's.

    A student built from scratch generates noise at first.
    """
    max_age: CountFromZero = 0
    """Replay: rounds for which a text is used again before a new one is generated for its input."""
    share: Annotated[Constant | Growing | Adaptive, Field(discriminator="kind")] = Constant()
    """Schedule of the student's share of the targets."""


class SparseLogprobs(Section):
    """Top-p truncation of teacher distributions within a number of tokens: each text is scored once.

    The kept tokens at every position and the mass of the rest are cached, by default in at most 57 bytes per position
    for vocabularies of up to 65,536 tokens. Dense distributions of a whole pool would be larger than the models. The
    divergence that truncation loses is measured and reported.
    """

    kind: Literal["sparse"] = "sparse"
    top: TokenCount = 14
    """The most tokens kept at a position (the k of the top-k truncation)."""
    top_p: ShareAboveZero = 0.99
    """Probability mass after which no further token is kept; 1 keeps `top` tokens at every position."""
    weights: WeightType = "float32"
    """Type in which a local teacher scores; bf16 halves the memory of its weights, and logits have eight significant
    bits (docs/language-models.md#memory)."""


class DenseLogprobs(Section):
    """The teacher computes its whole distributions at every training step; nothing is cached."""

    kind: Literal["dense"] = "dense"
    weights: WeightType = "float32"
    """As in sparse ones."""


class Relations(Section):
    """A second loss: the student's token-to-token relations match the teacher's.

    Both losses are scaled by 1 / max(their mean over the first batches, 0.025) and mixed (Calderon et al. 2023, S3).
    """

    of: Literal["attention", "hidden"]
    """Relations between queries, keys and values of the last layers, or between the last hidden states."""
    share: ShareAboveZero = 0.5
    """Share of this loss in the sum; the objective has the rest."""
    scale_batches: Rounds = 100
    """Batches over which the scales are measured."""


class Distil(Section):
    """How the student is distilled: a named method, with any of its settings changed."""

    method: str = "joint_teaching"
    """The preset that provides the defaults of `distil`, `pseudo_targets` and `training` (see `understudy show`)."""
    targets: Shares
    """Origins of the target texts."""
    objective: AnyObjective
    """What training minimizes."""
    student_samples_objective: AnyObjective | None = None
    """Another objective for texts sampled from the student; null: the same."""
    teacher_logprobs: Annotated[SparseLogprobs | DenseLogprobs, Field(discriminator="kind")] = SparseLogprobs()
    """How teacher log-probabilities are computed and kept; cross_entropy needs none."""
    enable_teacher_dropout: StrictBool = False
    """Whether the teacher's dropout is active when its log-probabilities are computed."""
    enable_student_dropout: StrictBool = True
    """Whether the student's dropout is active during distillation."""
    relations: Relations | None = None
    """Second loss on attention or hidden-state relations; null: none."""
    student_samples: StudentSampling = StudentSampling()
    """How texts are sampled from the student."""
    initial_weights: Literal["student", "fine_tuned"] = "student"
    """Weights that distillation starts from: the student as it was built, or as the baseline fine-tuned it."""
    generations: Rounds = 1
    """Number of students distilled in turn; every student after the first has the previous one as its teacher."""
    final_finetune: Training | None = None
    """Fine-tuning on gold after distillation, kept only if the dev score improves (about 10 epochs in the paper)."""

    @property
    def objectives(self) -> tuple[AnyObjective, ...]:
        """All objectives that are minimized."""
        return (self.objective, *((self.student_samples_objective,) if self.student_samples_objective else ()))

    @property
    def needs_teacher_logits(self) -> bool:
        """Whether an objective compares token distributions."""
        return any(not isinstance(objective, CrossEntropy) for objective in self.objectives)

    @property
    def kept_tokens(self) -> int | None:
        """The most tokens cached per position; None where no log-probabilities or dense ones are used."""
        logprobs = self.teacher_logprobs
        return logprobs.top if isinstance(logprobs, SparseLogprobs) and self.needs_teacher_logits else None

    @property
    def kept_mass(self) -> float | None:
        """The `top_p` of cached log-probabilities; None where nothing is truncated by it."""
        logprobs = self.teacher_logprobs
        return (
            logprobs.top_p if isinstance(logprobs, SparseLogprobs) and self.kept_tokens and logprobs.top_p < 1 else None
        )

    @property
    def bf16_teacher(self) -> bool | None:
        """Whether a local teacher scores with weights in bfloat16; None instead of False, which is in no cache key."""
        return (self.needs_teacher_logits and self.teacher_logprobs.weights == "bf16") or None

    @property
    def needed_at_every_step(self) -> tuple[str, ...]:
        """The settings for which the teacher runs at every training step, as nothing that is cached can replace it."""
        wanted = {"enable_teacher_dropout": self.enable_teacher_dropout, "relations": self.relations is not None}
        return tuple(name for name, used in wanted.items() if used)

    def conflicts(self) -> Iterator[str]:
        """Settings of distillation that cannot be used together."""
        yield from self._sampling_conflicts()
        yield from self._teacher_conflicts()
        if self.final_finetune and self.final_finetune.keep_weights != "best":
            yield (
                f"final_finetune.keep_weights is {self.final_finetune.keep_weights}, but the final fine-tuning is kept "
                "only where the dev score improves; leave final_finetune.keep_weights out"
            )

    def _sampling_conflicts(self) -> Iterator[str]:
        start, share = self.student_samples.start, self.student_samples.share.kind
        if self.targets.student and start and not self.targets.teacher:
            yield (
                f"student_samples.start is {start}, but targets.teacher is 0, so there are no teacher texts to use "
                "before; set student_samples.start=0, or set targets.teacher above 0"
            )
        if share != "constant" and start:
            yield (
                f"student_samples.start is {start}, but student_samples.share is {share}, which already starts without "
                "student texts; leave start out, or use share={kind: constant}"
            )
        if share != "constant" and not (self.targets.student and self.targets.gold + self.targets.teacher):
            yield (
                f"student_samples.share is {share}, which shifts targets from gold and teacher texts to student texts, "
                "but targets has only one side; set targets.student, and targets.gold or targets.teacher, above 0"
            )

    def _teacher_conflicts(self) -> Iterator[str]:
        if self.enable_teacher_dropout and not self.needs_teacher_logits:
            yield (
                "enable_teacher_dropout has no effect with objective cross_entropy, which does not use teacher logits; "
                "use objective forward_kl, or set enable_teacher_dropout=false"
            )
        if self.teacher_logprobs.weights == "bf16" and not self.needs_teacher_logits:
            yield (
                "teacher_logprobs.weights has no effect with objective cross_entropy, which does not use teacher "
                "logits; use objective forward_kl, or leave weights out"
            )
        if self.relations and not self.needs_teacher_logits:
            yield (
                "relations are mixed with a divergence from the teacher's distributions, but objective cross_entropy "
                "does not use them; use objective forward_kl, or leave relations out"
            )
        if (wanted := self.needed_at_every_step) and isinstance(self.teacher_logprobs, SparseLogprobs):
            yield (
                f"{' and '.join(wanted)} need{'s' if len(wanted) == 1 else ''} a teacher pass at every training step, "
                "but teacher_logprobs is sparse, which caches one pass; set teacher_logprobs={kind: dense}"
            )
