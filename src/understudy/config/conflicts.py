"""Conflicts between the sections of a recipe. Conflicts inside one section are found by that section.

Each rule is a function whose parameters name the sections it reads; it yields a message per conflict. A rule is
skipped if one of its sections is not given, so that the conflicts of a partly invalid recipe are reported too.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from math import lcm

from understudy.config.decoding import Greedy, Sampling
from understudy.config.distil import Distil
from understudy.config.engine_conflicts import engine_has_the_compute_type, engine_has_the_decodings
from understudy.config.model_sections import (
    AnyStudent,
    AnyTeacher,
    EndpointTeacher,
    PretrainedTeacher,
    PrunedStudent,
    ScratchStudent,
    ScratchTeacher,
    lora_of_random_weights,
)
from understudy.config.pool_selection import KeepAll
from understudy.config.pseudo_targets import PseudoTargets
from understudy.config.task import AnyTask, FilesTask
from understudy.config.training import Training
from understudy.config.truncation import truncation_conflicts
from understudy.config.vocabulary_conflicts import (
    endpoint_has_one_vocabulary,
    live_logits_of_other_tokens,
    trimming_conflicts,
)

STAGE_CACHE = "store"
"""The folder of finished stages, in the folder of the runs; no run can have this name."""


def recipe_conflicts(sections: Mapping[str, object]) -> Iterator[str]:
    """Every conflict between the given sections of a recipe.

    Args:
        sections: name -> validated value of each top-level key of a recipe; invalid ones are left out.
    """
    yield from _apply(GENERAL_RULES, sections)
    if "teacher" in sections:
        is_endpoint = isinstance(sections["teacher"], EndpointTeacher)
        yield from endpoint_conflicts(sections) if is_endpoint else network_conflicts(sections)


def endpoint_conflicts(sections: Mapping[str, object]) -> Iterator[str]:
    """Settings that a teacher behind an endpoint does not support."""
    yield from _apply(ENDPOINT_RULES, sections)


def network_conflicts(sections: Mapping[str, object]) -> Iterator[str]:
    """Settings that a local teacher does not support."""
    yield from _apply(NETWORK_RULES, sections)


Rule = Callable[..., Iterator[str]]


def _apply(rules: tuple[Rule, ...], sections: Mapping[str, object]) -> Iterator[str]:
    for rule in rules:
        needed = inspect.signature(rule).parameters.keys()
        if needed <= sections.keys():
            yield from rule(**{name: sections[name] for name in needed})


def _primary_metric_is_computed(task: AnyTask) -> Iterator[str]:
    if task.primary_metric not in task.metrics:
        yield (
            f"task.primary_metric is {task.primary_metric!r}, which is not in task.metrics "
            f"({', '.join(task.metrics)}); add it there, or name one as it is written there"
        )


def name_conflicts(name: str) -> Iterator[str]:
    """The name of a run or study that is taken."""
    if name.casefold() == STAGE_CACHE:
        yield f"name is {name!r}, the folder of the stage cache next to the runs; choose another name"


def _student_samples_per_source(distil: Distil, training: Training) -> Iterator[str]:
    decoding, count = distil.student_samples.decoding, training.targets_per_source
    if distil.targets.student and count not in {1, "auto"} and not isinstance(decoding, Sampling):
        yield (
            f"training.targets_per_source is {count}, so the student generates {count} texts per source, but "
            f"distil.student_samples.decoding {decoding.kind} gives one; use kind sampling, or targets_per_source 1"
        )


def _relations_need_the_states_of_layers(distil: Distil, training: Training) -> Iterator[str]:
    if distil.relations and training.compile_layers:
        yield (
            "distil.relations compares states within layers, which compiled layers do not show; leave "
            "training.compile_layers out, or remove relations"
        )


def _scratch_student_is_trained_whole(training: Training, student: AnyStudent) -> Iterator[str]:
    if isinstance(student, ScratchStudent):
        yield from lora_of_random_weights("training", training)


def _network_needs_labels(task: AnyTask) -> Iterator[str]:
    if isinstance(task, FilesTask) and (not task.has_labels or task.referenced_by_teacher):
        yield (
            "task has no labels for training or scoring, which only a teacher behind an endpoint can do without; set "
            "files.labeled, files.dev and files.test, or use teacher.endpoint"
        )


def _relations_divide_the_width(distil: Distil, teacher: AnyTeacher, student: AnyStudent) -> Iterator[str]:
    """Refuses scratch sizes before the teacher is trained; checkpoints are refused at the first step."""
    if distil.relations and isinstance(teacher, ScratchTeacher) and isinstance(student, ScratchStudent):
        heads, width = teacher.scratch.heads, student.scratch.width
        if width % heads:
            both = lcm(heads, student.scratch.heads)
            yield (
                f"distil.relations splits the student's states into the teacher's {heads} heads, but "
                f"student.scratch.width is {width}, which is not divisible by {heads}; use a width such as "
                f"{width - width % both + both}"
            )


def _teacher_has_dropout(distil: Distil, teacher: AnyTeacher) -> Iterator[str]:
    """Refuses scratch teachers before they are trained; checkpoints are refused at the student's first step."""
    if distil.enable_teacher_dropout and isinstance(teacher, ScratchTeacher) and not teacher.scratch.dropout:
        yield (
            "distil.enable_teacher_dropout activates the teacher's dropout, but teacher.scratch.dropout is 0; set it "
            "to 0.1, for example, or use method logits_kd"
        )


def _relations_compare_the_same_positions(distil: Distil, teacher: AnyTeacher) -> Iterator[str]:
    if distil.relations and isinstance(teacher, PretrainedTeacher) and teacher.has_own_prompt:
        yield (
            "distil.relations compares the same positions of teacher and student, but the teacher reads a prompt of "
            "its own (teacher.prompt, teacher.system or teacher.demonstrations); remove that, or remove relations"
        )


def _endpoint_has_no_layers(student: AnyStudent) -> Iterator[str]:
    if isinstance(student, PrunedStudent):
        yield "student.prune keeps layers of the teacher, but teacher.endpoint has none here; use model or scratch"


def _endpoint_scores_no_text(distil: Distil) -> Iterator[str]:
    if distil.targets.student or distil.generations > 1:
        yield (
            "distil uses texts of the student, but an endpoint does not return log-probabilities of texts it did not "
            "generate; use method extreme_fine_tune or extreme_logits"
        )
    if not distil.targets.teacher:
        yield (
            "distil.targets.teacher is 0, but texts are all that an endpoint provides; use method extreme_fine_tune or "
            "extreme_logits"
        )
    if distil.final_finetune:
        yield "distil.final_finetune is not supported with teacher.endpoint; leave it out"


def _endpoint_reasoning(task: AnyTask) -> Iterator[str]:
    if task.keep_reasoning:
        yield (
            "task.keep_reasoning is for local teachers, and what an endpoint's text is, teacher.endpoint.answer says; "
            "leave keep_reasoning out, and set answer to '(.+)' to keep the whole response"
        )


def _endpoint_cannot_compute_nll(task: AnyTask) -> Iterator[str]:
    if task.primary_metric == "nll":
        yield "task.primary_metric is nll, but an endpoint does not score gold texts; use another one, such as bleu"


def _endpoint_logprobs(distil: Distil, teacher: AnyTeacher) -> Iterator[str]:
    if distil.needs_teacher_logits and distil.kept_tokens is None:
        yield (
            "distil.teacher_logprobs is dense, but an endpoint returns log-probabilities of only a few tokens; set "
            "teacher_logprobs={kind: sparse}"
        )
    if distil.teacher_logprobs.weights == "bf16":
        yield "distil.teacher_logprobs.weights is bf16, but an endpoint chooses its own type; leave weights out"
    if distil.needs_teacher_logits and isinstance(teacher, EndpointTeacher) and not teacher.endpoint.top_logprobs:
        yield (
            "distil.objective compares distributions, but teacher.endpoint.top_logprobs is 0, so none are requested; "
            "set it to the most that the server allows (OpenAI: 20), or use method extreme_fine_tune"
        )


def _endpoint_decoding(pseudo_targets: PseudoTargets) -> Iterator[str]:
    decoding = pseudo_targets.decoding
    if not (isinstance(decoding, Greedy) or (isinstance(decoding, Sampling) and decoding.top_k == 0)):
        suffix = f" with top_k={decoding.top_k}" if isinstance(decoding, Sampling) else ""
        yield (
            f"pseudo_targets.decoding is {decoding.kind}{suffix}, which endpoints do not offer; use "
            "{kind: sampling, top_k: 0, temperature: ..., top_p: ...} or {kind: greedy}"
        )


def _endpoint_references(task: AnyTask, pseudo_targets: PseudoTargets) -> Iterator[str]:
    greedy = isinstance(pseudo_targets.decoding, Greedy)
    if greedy and isinstance(task, FilesTask) and task.referenced_by_teacher:
        yield (
            "pseudo_targets.decoding is greedy, and the endpoint generates the references of "
            f"{' and '.join(task.referenced_by_teacher)}: its own predictions would repeat them and score perfectly; "
            "use {kind: sampling, top_k: 0}, or set files.dev and files.test to files with gold"
        )


def _endpoint_compute_type(pseudo_targets: PseudoTargets) -> Iterator[str]:
    if pseudo_targets.compute_type != "float32":
        yield (
            f"pseudo_targets.compute_type is {pseudo_targets.compute_type}, but an endpoint chooses its own; leave it "
            "out"
        )


def _endpoint_selection(pseudo_targets: PseudoTargets) -> Iterator[str]:
    if not isinstance(pseudo_targets.select, KeepAll):
        yield (
            f"pseudo_targets.select is {pseudo_targets.select.kind}, but all texts of an endpoint are used; leave "
            "pseudo_targets.select out"
        )


def _endpoint_without_labels(task: AnyTask, distil: Distil, pseudo_targets: PseudoTargets) -> Iterator[str]:
    if isinstance(task, FilesTask) and not task.has_labels:
        if distil.targets.gold or distil.final_finetune or distil.initial_weights == "fine_tuned":
            yield (
                "distil uses gold targets, but task.files has no labeled file; set distil.targets to {teacher: 1} and "
                "leave final_finetune and initial_weights out, as methods extreme_fine_tune and extreme_logits do"
            )
        if "labeled" in pseudo_targets.inputs:
            yield "pseudo_targets.inputs includes labeled, but task.files has no labeled file; set it to [unlabeled]"


GENERAL_RULES: tuple[Rule, ...] = (
    name_conflicts,
    _primary_metric_is_computed,
    _student_samples_per_source,
    _relations_need_the_states_of_layers,
    _scratch_student_is_trained_whole,
    engine_has_the_decodings,
    engine_has_the_compute_type,
    truncation_conflicts,
)
NETWORK_RULES: tuple[Rule, ...] = (
    _network_needs_labels,
    _relations_divide_the_width,
    _relations_compare_the_same_positions,
    _teacher_has_dropout,
    trimming_conflicts,
    live_logits_of_other_tokens,
)
ENDPOINT_RULES: tuple[Rule, ...] = (
    _endpoint_has_no_layers,
    endpoint_has_one_vocabulary,
    _endpoint_reasoning,
    _endpoint_scores_no_text,
    _endpoint_cannot_compute_nll,
    _endpoint_logprobs,
    _endpoint_decoding,
    _endpoint_references,
    _endpoint_compute_type,
    _endpoint_selection,
    _endpoint_without_labels,
)
