"""Runs a recipe: derives its stages, makes what is missing, delivers the run's folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.config.recipe import Recipe
from understudy.executors._memory import return_freed_memory
from understudy.executors.local import Local
from understudy.pipeline.build import build_run
from understudy.pipeline.context import RunContext, run_context
from understudy.pipeline.delivery import deliver, prepare_folder
from understudy.pipeline.preflight import Prepared, require_preflight, stages_of_checks
from understudy.pipeline.progress_file import recorded
from understudy.pipeline.stages.deferral import DeferralStage
from understudy.pipeline.teacher_outputs import endpoint_of
from understudy.progress import NoProgress, Progress
from understudy.report.facts import Facts
from understudy.store import Stage
from understudy.store.stage import inputs_of
from understudy.store.store import Executor, Outcome, failure_of

LOCAL = Local()
QUIET = NoProgress()


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    facts: Facts
    stages: Mapping[str, Path]
    """Label -> the folder of the stage, in the order in which the stages are needed."""


def run(
    recipe: Recipe,
    *,
    out: str | Path = "runs",
    progress: Progress = QUIET,
    executor: Executor = LOCAL,
    allow_code: bool = False,
    copy: bool = False,
    strict: bool = False,
) -> Run:
    """Runs a recipe; stages that any run in `out` has finished are reused.

    Args:
        recipe: what to do.
        out: the folder of the runs and, in `store`, of their stages.
        progress: is informed about long work.
        executor: where stages run.
        allow_code: whether code that the recipe names (`module:object`) may be imported.
        copy: whether the run's folder gets its own copies of the stages, so that it can be moved by itself.
        strict: whether warnings before training, such as targets that a tokenizer changes, are errors.

    Returns:
        The run's folder with `report.html`, `report.json`, `progress.jsonl`, the recipe, and a link to each stage.

    Raises:
        UnderstudyError: whatever the user can fix, in one sentence. Finished stages are kept.
    """
    return_freed_memory()
    with recorded(progress, Path(out) / recipe.name, recipe.tracker) as record:
        context = run_context(Path(out), record, allow_code=allow_code, endpoint=endpoint_of(recipe), strict=strict)
        return _run(recipe, Path(out), context, executor, copy=copy)


def _run(recipe: Recipe, out: Path, context: RunContext, executor: Executor, *, copy: bool) -> Run:
    stages = build_run(recipe, context)
    prepared = Prepared(stages.task, stages.scores, context)
    checks = stages_of_checks(prepared)
    folder = prepare_folder(recipe, out, stages, checks)
    require_preflight(prepared)
    outcomes: dict[str, Outcome] = {}
    if stages.preview and not context.store.finished(stages.scores):
        # In a call of its own: a measurement waits until nothing else is under way, and the student would be trained.
        outcomes |= _make([stages.preview], executor, context)
    delivered = [stage for stage in (stages.scores, stages.systems.final.network) if stage]
    if not context.store.finished(stages.scores) or _has_inputs(stages.deferral, context):
        delivered.append(stages.deferral)
    outcomes |= _make(delivered, executor, context)
    facts, folders = deliver(stages.task.recipe, folder, stages, context, outcomes, checks=checks, copy=copy)
    return Run(folder, facts, folders)


def _has_inputs(deferral: DeferralStage, context: RunContext) -> bool:
    """Whether a run of an earlier version can get its confidence from what it has: nothing is trained again for it."""
    inputs = [stage for of in (deferral, deferral.confidences) for _, stage in inputs_of(of)]
    return all(context.store.finished(stage) for stage in inputs if stage != deferral.confidences)


def _make(wanted: Sequence[Stage[Any]], executor: Executor, context: RunContext) -> dict[str, Outcome]:
    """What became of the wanted stages and of those that had to be made for them; a failure is raised."""
    outcomes = context.store.get_all(wanted, executor, context)
    for stage in wanted:
        raise_failure(stage, outcomes, context)
    return outcomes


def raise_failure(stage: Stage[Any], outcomes: Mapping[str, Outcome], context: RunContext) -> None:
    """Raises what kept a stage from being made, if anything did."""
    if failure := failure_of(stage, outcomes, context):
        raise failure
