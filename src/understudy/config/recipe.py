"""The recipe: everything that was asked of a run, in one closed and frozen value."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from understudy.config.decoding import Beam, Decoding, EngineName, Greedy, KBeams, Sampling
from understudy.config.networks import AnyStudent, AnyTeacher
from understudy.config.section import Section
from understudy.config.task import AnyTask
from understudy.config.training import AnyObjective, CrossEntropy, Precision, Training

InputKind = Literal["labeled", "unlabeled"]


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


class PseudoTargets(Section):
    """What the teacher writes."""

    inputs: Annotated[tuple[InputKind, ...], Field(min_length=1)] = ("labeled", "unlabeled")
    per_input: PositiveInt = 1
    decoding: Decoding = Beam()
    shard_inputs: PositiveInt = 4096
    """Inputs per shard: what a kill can cost, and what a seed is derived for."""

    @model_validator(mode="after")
    def _enough_texts(self) -> Self:
        most = {"greedy": 1, "beam": 1}.get(self.decoding.kind)
        if isinstance(self.decoding, KBeams):
            most = self.decoding.beams
        if most is not None and self.per_input > most:
            msg = (
                f"per_input is {self.per_input}, but decoding {self.decoding.kind} writes at most {most} per input; "
                "use decoding kind sampling, or k_beams with as many beams"
            )
            raise ValueError(msg)
        return self


class StudentText(Section):
    """How the student writes the texts it is taught on."""

    decoding: Decoding = Sampling()
    rounds_per_epoch: PositiveInt = 1
    """How often in an epoch the current student writes anew."""
    start: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of training before the first student text; the teacher's stands in.

    A student from scratch writes noise at first.
    """


class Distil(Section):
    """How the student is taught: a named method, or any mixture of its own."""

    method: str = "joint_teaching"
    """A preset: defaults for targets, objective and pseudo_targets. `understudy show` prints them filled in."""
    targets: Shares
    objective: AnyObjective
    student_text: StudentText = StudentText()
    final_finetune: Training | None = None
    """A last stage on gold, kept only if dev improves (the paper: about 10 epochs)."""

    @model_validator(mode="after")
    def _start_needs_a_teacher(self) -> Self:
        if self.targets.student and self.student_text.start and not self.targets.teacher:
            msg = (
                f"student_text.start is {self.student_text.start}, but targets.teacher is 0, so nothing stands in "
                "before; set student_text.start=0 or give targets.teacher a share"
            )
            raise ValueError(msg)
        return self


class Evaluation(Section):
    """How systems are measured."""

    decoding: Decoding = Beam()
    dev_decoding: Decoding = Greedy()
    """While training, to choose checkpoints."""
    dev_inputs: PositiveInt | None = None
    """How many dev inputs choose checkpoints; none: all."""
    resamples: PositiveInt = 1000
    latency_inputs: PositiveInt = 64
    batch_inputs: PositiveInt = 64
    """Inputs per batch when throughput is measured."""
    rounds: PositiveInt = 3
    """How often each system is measured, in turn with the others; medians are told."""


class Recipe(Section):
    """A run, whole."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]
    """Of the run's folder."""
    seed: NonNegativeInt = 13
    task: AnyTask
    teacher: AnyTeacher
    student: AnyStudent
    pseudo_targets: PseudoTargets = PseudoTargets()
    distil: Distil
    training: Training = Training()
    """How the student is distilled."""
    evaluation: Evaluation = Evaluation()
    engine: EngineName = "auto"
    precision: Precision = "auto"
    """Of training; auto is bf16 where the device is fast at it. float32 gives the same bytes on every kill."""

    @model_validator(mode="after")
    def _measures_what_it_selects(self) -> Self:
        if self.task.primary_metric not in self.task.metrics:
            msg = (
                f"task.primary_metric is {self.task.primary_metric!r}, which is not among task.metrics "
                f"({', '.join(self.task.metrics)}); add it there"
            )
            raise ValueError(msg)
        return self

    @property
    def needs_teacher_logits(self) -> bool:
        """Whether the objective compares distributions, so that vocabularies must be shared."""
        return not isinstance(self.distil.objective, CrossEntropy)
