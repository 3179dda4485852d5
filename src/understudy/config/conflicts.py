"""What a recipe may ask of its teacher: a network of its own can do other things than an endpoint.

Each demand that cannot be met is a sentence; a recipe is refused with the first.
"""

from collections.abc import Iterator
from math import lcm
from typing import TYPE_CHECKING

from understudy.config.decoding import Greedy, Sampling
from understudy.config.model_sections import EndpointTeacher, PrunedStudent, ScratchStudent, ScratchTeacher
from understudy.config.pool_selection import KeepAll
from understudy.config.task import FilesTask

if TYPE_CHECKING:
    from understudy.config.recipe import Recipe


def endpoint_conflicts(recipe: "Recipe") -> Iterator[str]:
    """What a recipe asks of a teacher behind an endpoint that such a teacher cannot give."""
    distil = recipe.distil
    if isinstance(recipe.student, PrunedStudent):
        yield "student.prune cuts layers out of the teacher, and teacher.endpoint has none; use model or scratch"
    if distil.targets.student or distil.generations > 1:
        yield (
            "distil teaches texts of the student, and an endpoint only writes: it does not say how likely it finds the "
            "text of another; use method extreme_fine_tune or extreme_logits"
        )
    if not distil.targets.teacher:
        yield (
            "distil.targets gives the teacher's text no share, and an endpoint gives nothing else; use method "
            "extreme_fine_tune or extreme_logits"
        )
    if distil.final_finetune:
        yield "distil.final_finetune is a last lesson after a teacher of one's own; with teacher.endpoint leave it out"
    if recipe.task.primary_metric == "nll":
        yield "task.primary_metric is nll, and an endpoint does not tell how likely it finds gold; use bleu, say"
    yield from _probabilities(recipe)
    yield from _decoding(recipe)
    if not isinstance(recipe.pseudo_targets.select, KeepAll):
        yield (
            "pseudo_targets.select chooses among texts of a network; what an endpoint wrote is all taught: leave it out"
        )
    yield from _without_labels(recipe)


def network_conflicts(recipe: "Recipe") -> Iterator[str]:
    """What a recipe asks of a teacher of its own that only a teacher behind an endpoint gives."""
    task = recipe.task
    if isinstance(task, FilesTask) and (not task.has_labels or task.referenced_by_teacher):
        yield (
            "task gives no labels for what is learned or scored, which only a teacher behind an endpoint can do "
            "without; give files.labeled, files.dev and files.test, or set teacher.endpoint"
        )
    yield from _relations_that_do_not_divide(recipe)
    yield from _noise_without_dropout(recipe)


def _noise_without_dropout(recipe: "Recipe") -> Iterator[str]:
    """Told before the teacher is trained; of checkpoints the student's first step tells."""
    teacher = recipe.teacher
    if recipe.distil.enable_teacher_dropout and isinstance(teacher, ScratchTeacher) and not teacher.scratch.dropout:
        yield (
            "distil.enable_teacher_dropout turns on the teacher's dropout, and teacher.scratch.dropout is 0; set it to 0.1, "
            "say, or use method logits_kd"
        )


def _relations_that_do_not_divide(recipe: "Recipe") -> Iterator[str]:
    """Told before the teacher is trained; of checkpoints the first step tells."""
    teacher, student = recipe.teacher, recipe.student
    if recipe.distil.relations and isinstance(teacher, ScratchTeacher) and isinstance(student, ScratchStudent):
        heads, width = teacher.scratch.heads, student.scratch.width
        if width % heads:
            both = lcm(heads, student.scratch.heads)
            yield (
                f"distil.relations cuts the student's states into the teacher's {heads} heads, and "
                f"student.scratch.width is {width}, which they do not divide; use a width such as "
                f"{width - width % both + both}"
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


def _probabilities(recipe: "Recipe") -> Iterator[str]:
    """An endpoint tells a few of them, if it is asked."""
    distil = recipe.distil
    assert isinstance(recipe.teacher, EndpointTeacher)  # noqa: S101 - the caller looked
    if distil.needs_teacher_logits and distil.kept_tokens is None:
        yield (
            "distil.teacher_logprobs is dense, and an endpoint tells at most the log-probabilities of a few tokens; set "
            "teacher_logprobs={kind: sparse}"
        )
    if distil.needs_teacher_logits and not recipe.teacher.endpoint.top_logprobs:
        yield (
            "distil.objective compares distributions, but teacher.endpoint.top_logprobs is 0, so the endpoint is asked "
            "for none; set it to as many as the server gives (OpenAI: 20), or use method extreme_fine_tune"
        )


def _decoding(recipe: "Recipe") -> Iterator[str]:
    """An endpoint samples, or is greedy."""
    decoding = recipe.pseudo_targets.decoding
    if isinstance(recipe.task, FilesTask) and recipe.task.referenced_by_teacher and isinstance(decoding, Greedy):
        yield (
            "pseudo_targets.decoding is greedy, so that the endpoint, asked again, would agree with its own references "
            "whatever they are; use {kind: sampling, top_k: 0}, or give dev and test files with gold"
        )
    if not (isinstance(decoding, Greedy) or (isinstance(decoding, Sampling) and decoding.top_k == 0)):
        cut = " with top_k" if isinstance(decoding, Sampling) else ""
        yield (
            f"pseudo_targets.decoding is {decoding.kind}{cut}, which no endpoint offers; use "
            "{kind: sampling, top_k: 0, temperature: ..., top_p: ...} or {kind: greedy}"
        )
