"""The recipe: everything that was asked of a run, in one closed and frozen value."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from understudy.config.decoding import Beam, Decoding, DiverseBeam, EngineName, Greedy, KBeams, PoolDecoding, Sampling
from understudy.config.distil import Distil
from understudy.config.networks import (
    AnyStudent,
    AnyTeacher,
    EndpointTeacher,
    PrunedStudent,
    ScratchStudent,
    ScratchTeacher,
)
from understudy.config.section import Section
from understudy.config.selection import KeepAll, Selection
from understudy.config.task import AnyTask, FilesTask
from understudy.config.training import Precision, Training

InputKind = Literal["labeled", "unlabeled"]


class PseudoTargets(Section):
    """What the teacher writes."""

    inputs: Annotated[tuple[InputKind, ...], Field(min_length=1)] = ("labeled", "unlabeled")
    per_input: PositiveInt = 1
    decoding: PoolDecoding = Beam()
    shard_inputs: PositiveInt = 4096
    """Inputs per shard: what a kill can cost, and what a seed is derived for."""
    keep: Selection = KeepAll()
    """Which of an input's texts are taught; the pool they are chosen from is written once for all choices."""

    @model_validator(mode="after")
    def _enough_texts(self) -> Self:
        most = {"greedy": 1, "beam": 1}.get(self.decoding.kind)
        if isinstance(self.decoding, KBeams):
            most = self.decoding.beams
        if isinstance(self.decoding, DiverseBeam):
            most = self.decoding.groups
        if most is not None and self.per_input > most:
            msg = (
                f"per_input is {self.per_input}, but decoding {self.decoding.kind} writes at most {most} per input; "
                "use decoding kind sampling, or k_beams with as many beams, or diverse_beam with as many groups"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _keeps_what_is_written(self) -> Self:
        kept = getattr(self.keep, "n", 1)
        if kept > self.per_input:
            msg = (
                f"keep.n is {kept}, but per_input is {self.per_input}: no input has so many texts; "
                "lower keep.n, or raise per_input"
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


def beyond_an_endpoint(recipe: "Recipe") -> Iterator[str]:
    """What a recipe asks of a teacher behind an endpoint that such a teacher cannot give."""
    distil, decoding = recipe.distil, recipe.pseudo_targets.decoding
    assert isinstance(recipe.teacher, EndpointTeacher)  # noqa: S101 - the caller looked
    if isinstance(recipe.student, PrunedStudent):
        yield "student.prune cuts layers out of the teacher, and teacher.endpoint has none; use model or scratch"
    if distil.targets.student or distil.generations > 1:
        yield (
            "distil teaches texts of the student, and an endpoint only writes: it does not say how likely it finds the "
            "text of another; use method extreme_fine_tune or extreme_logits"
        )
    if distil.needs_teacher_logits and distil.kept_tokens is None:
        yield (
            "distil.teacher_signal is dense, and an endpoint tells at most the log-probabilities of a few tokens; set "
            "teacher_signal={kind: sparse}"
        )
    if distil.needs_teacher_logits and not recipe.teacher.endpoint.top_logprobs:
        yield (
            "distil.objective compares distributions, but teacher.endpoint.top_logprobs is 0, so the endpoint is asked "
            "for none; set it to as many as the server gives (OpenAI: 20), or use method extreme_fine_tune"
        )
    if not (isinstance(decoding, Greedy) or (isinstance(decoding, Sampling) and decoding.top_k == 0)):
        cut = " with top_k" if isinstance(decoding, Sampling) else ""
        yield (
            f"pseudo_targets.decoding is {decoding.kind}{cut}, which no endpoint offers; use "
            "{kind: sampling, top_k: 0, temperature: ..., top_p: ...} or {kind: greedy}"
        )
    if not isinstance(recipe.pseudo_targets.keep, KeepAll):
        yield "pseudo_targets.keep chooses among texts of a network; what an endpoint wrote is all taught: leave it out"
    yield from _without_labels(recipe)


def beyond_a_network(recipe: "Recipe") -> Iterator[str]:
    """What a recipe asks of a teacher of its own that only a teacher behind an endpoint gives."""
    task = recipe.task
    if isinstance(task, FilesTask) and (not task.has_labels or task.referenced_by_teacher):
        yield (
            "task gives no labels for what is learned or scored, which only a teacher behind an endpoint can do "
            "without; give files.labeled, files.dev and files.test, or set teacher.endpoint"
        )
    yield from _relations_that_do_not_divide(recipe)


def _relations_that_do_not_divide(recipe: "Recipe") -> Iterator[str]:
    """Told before the teacher is trained; of checkpoints the first step tells."""
    teacher, student = recipe.teacher, recipe.student
    if recipe.distil.relations and isinstance(teacher, ScratchTeacher) and isinstance(student, ScratchStudent):
        heads, width = teacher.scratch.heads, student.scratch.width
        if width % heads:
            yield (
                f"distil.relations cuts the student's states into the teacher's {heads} heads, and "
                f"student.scratch.width is {width}, which they do not divide; use a width such as "
                f"{width - width % heads + heads}"
            )


def _without_labels(recipe: "Recipe") -> Iterator[str]:
    if isinstance(recipe.task, FilesTask) and not recipe.task.has_labels:
        if recipe.distil.targets.gold or recipe.distil.final_finetune:
            yield (
                "distil teaches gold text, but task.files has no labeled file; set distil.targets to {teacher: 1} and "
                "leave final_finetune out, as methods extreme_fine_tune and extreme_logits do"
            )
        if "labeled" in recipe.pseudo_targets.inputs:
            yield "pseudo_targets.inputs names labeled inputs, but task.files has none; set it to [unlabeled]"


class Recipe(Section):
    """A run, whole."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]
    """Of the run's folder."""
    seed: NonNegativeInt = 13
    student_seed: NonNegativeInt | None = None
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
    def _asks_of_its_teacher_what_it_can_give(self) -> Self:
        asked = beyond_an_endpoint(self) if isinstance(self.teacher, EndpointTeacher) else beyond_a_network(self)
        for msg in asked:
            raise ValueError(msg)
        return self

    @property
    def seed_of_students(self) -> int:
        """What the students' weights, order and texts are drawn with."""
        return self.seed if self.student_seed is None else self.student_seed
