"""The checks that are made before anything costs more than seconds.

`CHECKS` is one table. An expensive check is a stage, so the next run pays nothing for it; `run` makes them all before
the first training, `check` alone makes them and shows what they found.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from understudy.api_teacher.client import read_key
from understudy.config.recipe import Recipe
from understudy.errors import ConfigError, UnderstudyError
from understudy.executors.local import Local
from understudy.models.chat import always_reasons
from understudy.models.reasoning import has_reasoning
from understudy.models.text import source_format
from understudy.pipeline.api_teacher_outputs import student_checks
from understudy.pipeline.build import build_run
from understudy.pipeline.context import RunContext, default_device, run_context
from understudy.pipeline.delivery import dependencies_first
from understudy.pipeline.local_teacher import generation_type
from understudy.pipeline.model_sources import load_task_tokenizer, tokenizer_source
from understudy.pipeline.plan_estimates import estimate_of
from understudy.pipeline.planner import planner_of
from understudy.pipeline.prepare import PreparedTask
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.examples import labels_content
from understudy.pipeline.stages.network_check import Finding, NetworkCheckStage, network_check
from understudy.pipeline.stages.text_check import TextCheckStage
from understudy.pipeline.stages.training_steps import StepsFacts, TrainingStepsStage
from understudy.pipeline.starts import Trains, network_roles, steps_stage
from understudy.pipeline.teacher_outputs import endpoint_of, requests_before
from understudy.pipeline.token_map import token_map_findings
from understudy.progress import NoProgress, Progress
from understudy.store import Stage
from understudy.store.store import failure_of

QUIET = NoProgress()
ENOUGH_STEPS = 2
"""Times the warm-up that a training should last."""
TRAINING_SETTINGS = {
    "teacher": "teacher.finetune",
    "fine_tuned": "student.finetune",
    "student": "training",
    "final_finetune": "distil.final_finetune",
}
"""Name of the stage that trains -> its section of the recipe."""
CheckStage = NetworkCheckStage | TextCheckStage | TrainingStepsStage


@dataclass(frozen=True)
class Prepared:
    """What the checks are derived from: the stages of a run, none of which has trained anything yet."""

    task: PreparedTask
    scores: Stage[Any]
    """The last stage, which needs all others."""
    context: RunContext


def network_checks(prepared: Prepared) -> Iterator[NetworkCheckStage]:
    """Every network before training, in the engine that it will use."""
    task = prepared.task
    place = prepared.context.folder(task.examples)
    for role, start in network_roles(prepared.scores).items():
        yield network_check(
            role,
            start.source,
            place,
            (start.limits if role == "teacher" else None) or task.limits,
            task.recipe.engine,
            prune=start.prune,
            compute_type=generation_type(task.recipe) if role == "teacher" else None,
        )


def text_checks(prepared: Prepared) -> Iterator[TextCheckStage]:
    """Every tokenizer on the task's texts."""
    task = prepared.task
    labels = labels_content(task.examples, task.facts, "labeled")
    for role, start in network_roles(prepared.scores).items():
        yield TextCheckStage(role, tokenizer_source(start.source), labels, task.limits)


def step_checks(prepared: Prepared) -> Iterator[TrainingStepsStage]:
    """Every training of the run."""
    for stage in dependencies_first(prepared.scores):
        if isinstance(stage, Trains) and (steps := steps_stage(stage, prepared.task.limits)):
            yield steps


CHECKS: dict[str, Callable[[Prepared], Iterator[CheckStage]]] = {
    "texts": text_checks,
    "steps": step_checks,
    "networks": network_checks,
}
"""Cheap ones first."""


def stages_of_checks(prepared: Prepared) -> tuple[CheckStage, ...]:
    """The stages of all checks."""
    return tuple(stage for check in CHECKS.values() for stage in check(prepared))


def preflight(prepared: Prepared) -> list[Finding]:
    """What all checks find, errors included; finished checks are reused."""
    findings = [
        finding for check in CHECKS.values() for finding in findings_of_stages(tuple(check(prepared)), prepared.context)
    ]
    if any(one.severity == "error" for one in findings):
        return findings
    teacher = network_roles(prepared.scores).get("teacher")
    mapped = token_map_findings(prepared.task, teacher, prepared.context)
    return [*findings, *mapped, *reasoning(prepared), *resources(prepared, Resources.of_machine(prepared.context))]


def reasoning(prepared: Prepared) -> Iterator[Finding]:
    """What the removal of reasoning from generated texts changes for gold targets and log-probabilities."""
    task = prepared.task
    if task.recipe.task.keep_reasoning:
        return
    targets = load_split(prepared.context.folder(task.examples), "labeled").targets()
    if reasoned := sum(map(has_reasoning, targets)):
        yield Finding(
            "gold reasoning",
            f"{reasoned} labeled targets hold reasoning, which is removed from all generated texts",
            "set task.keep_reasoning=true",
            "warning",
        )
    teacher = network_roles(prepared.scores).get("teacher")
    if teacher is None or not task.recipe.distil.needs_teacher_logits:
        return
    reads = load_task_tokenizer(teacher.source, task.limits, prepared.context)
    if source_format(reads.tokenizer) == "chat" and always_reasons(reads.tokenizer):
        yield Finding(
            "teacher reasoning",
            "the teacher reasons before each answer, and its log-probabilities are those of the answer right after the "
            "prompt, without the reasoning",
            "set distil.objective={kind: cross_entropy}, which learns the texts alone, or fine-tune the teacher",
            "warning",
        )


def findings_of_stages(stages: Sequence[CheckStage], context: RunContext) -> Iterator[Finding]:
    """What these checks find, each once."""
    outcomes = context.store.get_all(stages, Local(), context)
    for stage in {stage.key: stage for stage in stages}.values():
        failure = failure_of(stage, outcomes, context)
        if isinstance(failure, UnderstudyError):
            yield failed(stage, failure)
        elif failure:
            raise failure
        elif isinstance(stage, TrainingStepsStage):
            yield warm_up(stage, context.facts(stage))
        else:
            yield from context.facts(stage).findings


@dataclass(frozen=True)
class Resources:
    """What the machine has now, in bytes; it is not cached."""

    disk: float
    memory: float

    @classmethod
    def of_machine(cls, context: RunContext) -> Self:
        """The free disk at the store, and the memory of the device."""
        if default_device() == "cuda":
            memory = float(torch.cuda.get_device_properties(0).total_memory)
        else:
            memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        return cls(float(shutil.disk_usage(context.store.root).free), memory)


def resources(prepared: Prepared, machine: Resources) -> list[Finding]:
    """Whether disk and memory suffice for the stages that are not finished."""
    store, planner = prepared.context.store, planner_of(prepared.task, prepared.scores, prepared.context)
    left = [stage for stage in dependencies_first(prepared.scores) if not store.finished(stage)]
    own = [estimate_of(stage, planner) for stage in left]
    disk, memory = sum(one.disk_bytes for one in own), max((one.memory_bytes for one in own), default=0.0)
    return [
        _resource("disk", disk, machine.disk, "free some space, or choose another folder with --out"),
        _resource("memory", memory, machine.memory, "lower batch_tokens, or use smaller networks"),
    ]


def _resource(check: str, needed: float, there: float, remedy: str) -> Finding:
    found = f"about {needed / 1e6:,.0f} MB are needed, {there / 1e6:,.0f} MB are there"
    if needed <= there:
        return Finding(check, found)
    # Estimates may be too high by a factor of two.
    return Finding(check, found, remedy, "error" if needed > 2 * there else "warning")


def failed(stage: CheckStage, failure: UnderstudyError) -> Finding:
    """An error as a finding; its last clause says what to do."""
    found, _, remedy = str(failure).rpartition("; ")
    return Finding(stage.title, found or remedy, remedy if found else "", "error")


def warm_up(stage: TrainingStepsStage, facts: StepsFacts) -> Finding:
    """Whether a training is longer than its warm-up: otherwise the learning rate never reaches its peak."""
    training, setting = stage.training, f"{TRAINING_SETTINGS[stage.training_name]}.warmup_steps"
    check = f"steps of {stage.training_name}"
    found = ", ".join(
        filter(None, [f"{facts.steps} steps", f"warm-up {training.warmup_steps}", facts.targets_per_source])
    )
    remedy = f"set {setting}={facts.steps // 10}, or raise the epochs ({training.epochs})"
    if facts.steps < training.warmup_steps:
        return Finding(check, f"{found}: the learning rate would never reach its peak", remedy, "error")
    if facts.steps < ENOUGH_STEPS * training.warmup_steps:
        return Finding(check, f"{found}: most of the training is warm-up", remedy, "warning")
    return Finding(check, found)


def require_preflight(prepared: Prepared) -> None:
    """Makes all checks unless nothing is left to train; warnings are shown, errors stop the run.

    Raises:
        ConfigError: with a line for each error.
    """
    store = prepared.context.store
    trainings = [stage for stage in dependencies_first(prepared.scores) if isinstance(stage, Trains)]
    if store.finished(prepared.scores) or all(map(store.finished, trainings)):
        return
    findings = preflight(prepared)
    refuse_errors(findings)
    for one in findings:
        if one.severity == "warning":
            prepared.context.progress.log(f"WARNING: {one.check}: {one.finding}; {one.remedy}")


def refuse_errors(findings: Iterable[Finding]) -> None:
    """Stops at errors.

    Raises:
        ConfigError: with a line for each.
    """
    errors = [f"{one.check}: {one.finding}; {one.remedy}" for one in findings if one.severity == "error"]
    if errors:
        raise ConfigError("\n".join(errors))


def check(
    recipe: Recipe, *, out: str | Path = "runs", progress: Progress = QUIET, allow_code: bool = False
) -> list[Finding]:
    """Makes the checks of a recipe and no other stage that costs more than seconds; no request is sent.

    Args:
        recipe: what is checked.
        out: the folder of the runs, whose store keeps what the checks found.
        progress: is informed about long work.
        allow_code: whether code that the recipe names (`module:object`) may be imported.

    Raises:
        UnderstudyError: if a guard rail refuses the recipe, its data or its models.
    """
    context = run_context(Path(out), progress, allow_code=allow_code, endpoint=endpoint_of(recipe))
    before = requests_before(recipe, context)
    if before is None:
        stages = build_run(recipe, context)
        return preflight(Prepared(stages.task, stages.scores, context))
    unsent = Finding("requests", "none was sent yet; texts, steps and a student from scratch are checked after them")
    return [key_finding(recipe), *findings_of_stages(student_checks(recipe, before[0], context), context), unsent]


def key_finding(recipe: Recipe) -> Finding:
    """Whether the key of an API teacher is there."""
    endpoint = endpoint_of(recipe)
    assert endpoint is not None  # noqa: S101 - requests are sent to one
    try:
        read_key(endpoint)
    except UnderstudyError as error:
        found, _, remedy = str(error).partition("; ")
        return Finding("API key", found, remedy, "error")
    return Finding("API key", f"the environment variable {endpoint.key} is set")
