"""How the student is taught: where its texts come from, by which measure, on which schedule."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from understudy.config.decoding import Decoding, Sampling
from understudy.config.objectives import AnyObjective, CrossEntropy
from understudy.config.section import Section
from understudy.config.training import Training


class Shares(Section):
    """Where the target texts of an epoch come from; only their proportions matter."""

    gold: NonNegativeFloat = 0.0
    teacher: NonNegativeFloat = 0.0
    student: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _some_text(self) -> Self:
        if self.gold + self.teacher + self.student == 0:
            msg = "gold, teacher and student are all 0, so there is no text to learn; give one of them a share"
            raise ValueError(msg)
        return self


class Constant(Section):
    """The student's share is what `targets` says, all the time."""

    kind: Literal["constant"] = "constant"


class Growing(Section):
    """The student's share grows from nothing: 1 - base^(-t), t the share of training done (Lin et al. 2020)."""

    kind: Literal["growing"] = "growing"
    base: Annotated[float, Field(gt=1)] = 200.0


class Adaptive(Section):
    """The student's share is raised whenever dev got worse, from nothing to at most all (Ko et al. 2024)."""

    kind: Literal["adaptive"] = "adaptive"
    step: Annotated[PositiveFloat, Field(le=1)] = 0.1


class StudentSampling(Section):
    """How the student writes the texts it is taught on, and how many of them there are."""

    decoding: Decoding = Sampling()
    rounds_per_epoch: PositiveInt = 1
    """How often in an epoch the current student writes anew."""
    start: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of training before the first student text; the teacher's stands in.

    A student from scratch writes noise at first.
    """
    max_age: NonNegativeInt = 0
    """Rounds for which a text is taught again before the student writes another one for its input."""
    share: Annotated[Constant | Growing | Adaptive, Field(discriminator="kind")] = Constant()


class SparseLogprobs(Section):
    """The teacher listens to each text once: its most probable tokens at every position are kept, and the rest's mass.

    DenseLogprobs distributions of a pool would be larger than the models. Kept so, KL loses what the rest would tell.
    """

    kind: Literal["sparse"] = "sparse"
    top: PositiveInt = 64
    """Tokens kept at each position."""


class DenseLogprobs(Section):
    """The teacher listens at every step, and tells whole distributions."""

    kind: Literal["dense"] = "dense"


class Relations(Section):
    """Beside the objective: what is alike to the teacher's attention is to be alike to the student's.

    Both terms are scaled by 1 / max(their mean over the first batches, 0.025) and mixed (Calderon et al. 2023, S3).
    """

    of: Literal["attention", "hidden"]
    """Queries, keys and values of the last layers, or the last hidden states."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of the loss."""
    scale_batches: PositiveInt = 100


class Distil(Section):
    """How the student is taught: a named method, or any mixture of its own."""

    method: str = "joint_teaching"
    """A preset: defaults for this section and pseudo_targets. `understudy show` prints them filled in."""
    targets: Shares
    objective: AnyObjective
    student_samples_objective: AnyObjective | None = None
    """Another objective for the texts of the student; none: the same."""
    teacher_logprobs: Annotated[SparseLogprobs | DenseLogprobs, Field(discriminator="kind")] = SparseLogprobs()
    """What is kept of the teacher's distributions; cross-entropy asks for none."""
    enable_teacher_dropout: bool = False
    """Whether the teacher's dropout is on while it is listened to."""
    enable_student_dropout: bool = True
    """Whether the student's dropout is on while it is distilled."""
    relations: Relations | None = None
    student_samples: StudentSampling = StudentSampling()
    generations: PositiveInt = 1
    """How often it is done: every student but the first learns from the one before, as from a teacher."""
    final_finetune: Training | None = None
    """A last stage on gold, kept only if dev improves (the paper: about 10 epochs)."""

    @property
    def objectives(self) -> tuple[AnyObjective, ...]:
        """All that are minimised."""
        return (self.objective, *((self.student_samples_objective,) if self.student_samples_objective else ()))

    @property
    def needs_teacher_logits(self) -> bool:
        """Whether distributions are compared, so that vocabularies must be shared."""
        return any(not isinstance(objective, CrossEntropy) for objective in self.objectives)

    @property
    def kept_tokens(self) -> int | None:
        """How many tokens of each of the teacher's distributions are kept; none where it is not asked, or whole."""
        signal = self.teacher_logprobs
        return signal.top if isinstance(signal, SparseLogprobs) and self.needs_teacher_logits else None

    @model_validator(mode="after")
    def _start_needs_a_teacher(self) -> Self:
        if self.targets.student and self.student_samples.start and not self.targets.teacher:
            msg = (
                f"student_samples.start is {self.student_samples.start}, but targets.teacher is 0, so nothing "
                f"stands in "
                "before; set student_samples.start=0 or give targets.teacher a share"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _a_changing_share_starts_by_itself(self) -> Self:
        kind, start = self.student_samples.share.kind, self.student_samples.start
        if kind != "constant" and start:
            msg = (
                f"student_samples.start is {start}, but student_samples.share is {kind}, which begins with no text of the "
                "student and says itself when there are more; leave start out, or use share={kind: constant}"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _a_changing_share_has_others(self) -> Self:
        kind = self.student_samples.share.kind
        if kind != "constant" and not (self.targets.student and self.targets.gold + self.targets.teacher):
            msg = (
                f"student_samples.share is {kind}, which trades the student's text against gold and the teacher's, but "
                "targets has no share for both sides; give targets.student and targets.gold or targets.teacher one"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _noise_is_heard(self) -> Self:
        if self.enable_teacher_dropout and not self.needs_teacher_logits:
            msg = (
                "enable_teacher_dropout turns on the dropout of a teacher nobody listens to: objective cross_entropy learns "
                "text alone; use objective forward_kl, or enable_teacher_dropout=false"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _the_teacher_is_there_at_every_step(self) -> Self:
        wanted = "enable_teacher_dropout" if self.enable_teacher_dropout else "relations" if self.relations else None
        if wanted and isinstance(self.teacher_logprobs, SparseLogprobs):
            msg = (
                f"{wanted} hears the teacher anew at every step, but teacher_logprobs is sparse: it listens once, and "
                "never again; set teacher_logprobs={kind: dense}"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _a_last_lesson_improves(self) -> Self:
        if self.final_finetune and self.final_finetune.keep_weights != "best":
            msg = (
                f"final_finetune.keep_weights is {self.final_finetune.keep_weights}, but a last lesson on gold is kept only where dev "
                "improves; leave final_finetune.keep_weights out"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _relations_go_beside_distributions(self) -> Self:
        if self.relations and not self.needs_teacher_logits:
            msg = (
                "relations are mixed with a divergence from the teacher, but objective cross_entropy learns text "
                "alone; use objective forward_kl, or leave relations out"
            )
            raise ValueError(msg)
        return self
