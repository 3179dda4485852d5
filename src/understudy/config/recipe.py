"""The recipe: everything that was asked of a run, in one closed and frozen value."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from understudy.config.conflicts import endpoint_conflicts, network_conflicts
from understudy.config.decoding import Beam, Decoding, DiverseBeam, EngineName, Greedy, KBeams, PoolDecoding, Sampling
from understudy.config.distil import Distil
from understudy.config.model_sections import AnyStudent, AnyTeacher, EndpointTeacher
from understudy.config.pool_selection import KeepAll, Selection
from understudy.config.section import Section
from understudy.config.task import AnyTask
from understudy.config.training import Precision, Training

InputKind = Literal["labeled", "unlabeled"]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""As large as the smallest random generator takes."""


class PseudoTargets(Section):
    """What the teacher writes."""

    inputs: Annotated[tuple[InputKind, ...], Field(min_length=1)] = ("labeled", "unlabeled")
    per_input: PositiveInt = 1
    decoding: PoolDecoding = Beam()
    shard_inputs: PositiveInt = 4096
    """Inputs per shard: what a kill can cost, and what a seed is derived for."""
    select: Selection = KeepAll()
    """Which of an input's texts are taught; the pool they are chosen from is written once for all choices."""

    @property
    def of_one_search(self) -> int | None:
        """How many texts of an input one search finds; None where texts are drawn one by one."""
        match self.decoding:
            case KBeams(beams=beams):
                return beams
            case DiverseBeam(groups=groups):
                return groups
            case Sampling():
                return None
            case _:
                return 1

    @field_validator("inputs")
    @classmethod
    def _inputs_are_a_set(cls, inputs: tuple[InputKind, ...]) -> tuple[InputKind, ...]:
        """In one order, whichever they were written in: the same texts are then found under the same key."""
        return tuple(sorted(set(inputs)))

    @model_validator(mode="after")
    def _enough_texts(self) -> Self:
        most = self.of_one_search
        if most is not None and self.per_input > most:
            msg = (
                f"per_input is {self.per_input}, but decoding {self.decoding.kind} writes at most {most} per input; "
                "use decoding kind sampling, or k_beams with as many beams, or diverse_beam with as many groups"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _keeps_what_is_written(self) -> Self:
        kept = getattr(self.select, "n", 1)
        if kept > self.per_input:
            msg = (
                f"select.n is {kept}, but per_input is {self.per_input}: no input has so many texts; "
                "lower select.n, or raise per_input"
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
    resamples: Annotated[int, Field(ge=20)] = 1000
    latency_inputs: PositiveInt = 64
    batch_inputs: PositiveInt = 64
    """Inputs per batch when throughput is measured."""
    repeats: PositiveInt = 3
    """How often each system is measured, in turn with the others; medians are told."""


class Recipe(Section):
    """A run, whole."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]
    """Of the run's folder."""
    seed: Seed = 13
    student_seed: Seed | None = None
    """Of the students' weights, order and texts, where several share one teacher and one pool; none: `seed`."""
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
    """Of training; auto is bf16 on CUDA, float32 on CPU, where it gives the same bytes after every kill."""

    @model_validator(mode="after")
    def _measures_what_it_selects(self) -> Self:
        if self.task.primary_metric not in self.task.metrics:
            msg = (
                f"task.primary_metric is {self.task.primary_metric!r}, which is not among task.metrics "
                f"({', '.join(self.task.metrics)}); add it there"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _the_student_writes_as_many_texts_as_are_taught(self) -> Self:
        decoding, count = self.distil.student_samples.decoding, self.training.targets_per_source
        if self.distil.targets.student and count > 1 and not isinstance(decoding, Sampling):
            msg = (
                f"training.targets_per_source is {count}, so the student is to write {count} texts of a source at "
                f"once, and distil.student_samples.decoding {decoding.kind} gives one; use kind sampling, or "
                "targets_per_source 1"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _the_engine_has_the_decoding(self) -> Self:
        if self.engine == "ctranslate2" and isinstance(self.pseudo_targets.decoding, DiverseBeam):
            msg = (
                "pseudo_targets.decoding is diverse_beam, which engine ctranslate2 does not have; set engine to auto, "
                "which chooses hf for it"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _asks_of_its_teacher_what_it_can_give(self) -> Self:
        asked = endpoint_conflicts(self) if isinstance(self.teacher, EndpointTeacher) else network_conflicts(self)
        for msg in asked:
            raise ValueError(msg)
        return self

    @property
    def seed_of_students(self) -> int:
        """What the students' weights, order and texts are drawn with."""
        return self.seed if self.student_seed is None else self.student_seed
