"""Runs stages of this package and measures their processor seconds, a training's without its evaluations."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.trl_parts.curves import Point

from understudy.config.read import check_recipe
from understudy.executors.local import LocalQueue
from understudy.pipeline.build import build_run
from understudy.pipeline.context import RunContext, run_context
from understudy.progress import NO_VALUES, NoProgress, ProgressCallback, Values
from understudy.store import Stage
from understudy.store.stage import inputs_of
from understudy.store.store import AnyStage, Outcome

COUNTED = ("conversion", "pseudo_target", "teacher_logprob")
"""Beginnings of the names of the stages before the student's training that distillation needs."""


class Clock(NoProgress):
    """The evaluations of the last training, which reports after each step and after each evaluation."""

    def __init__(self) -> None:
        self.curve: list[Point] = []

    @contextmanager
    def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:  # noqa: ARG002 - a Progress
        """Starts a piece of work."""
        before = stepped = time.process_time()
        self.curve = []

        def report(amount: float, note: str = "", values: Values = NO_VALUES) -> None:  # noqa: ARG001 - a callback
            nonlocal before, stepped
            if "nll" in values:
                self.curve.append(Point(int(values["step"]), stepped - before, values["nll"]))
                before += time.process_time() - stepped
            stepped = time.process_time()

        yield report


@dataclass
class TimedQueue(LocalQueue):
    """Stages in this process, each of which is timed."""

    seconds: dict[str, float] = field(default_factory=dict)

    def wait(self) -> tuple[AnyStage, Outcome]:
        """Makes the next stage."""
        started = time.process_time()
        stage, outcome = super().wait()
        self.seconds[stage.folder_name] = time.process_time() - started
        return stage, outcome


@dataclass(frozen=True)
class Timed:
    """The executor with a clock."""

    seconds: dict[str, float]
    """Stage -> its processor seconds."""

    @contextmanager
    def open(self, context: Any) -> Iterator[TimedQueue]:  # noqa: ANN401 - any context of a worker
        """A queue in this process."""
        yield TimedQueue(context, seconds=self.seconds)


def student_of(recipe: dict[str, Any], out: Path, clock: Clock) -> tuple[Stage[Any], RunContext]:
    """The student's stage of a recipe, and the context in which it is made."""
    context = run_context(out, clock)
    return build_run(check_recipe(recipe), context).systems.student, context


def with_inputs(stage: Stage[Any], context: RunContext) -> Iterator[Stage[Any]]:
    """A stage, and all stages and shards it needs; some more than once."""
    yield stage
    for _, earlier in inputs_of(stage):
        yield from with_inputs(earlier, context)
    yield from stage.shards(context)


def make(recipe: dict[str, Any], out: Path, names: set[str]) -> dict[str, Path]:
    """Makes the stages with these names that a recipe's student needs; name -> its folder."""
    student, context = student_of(recipe, out, Clock())
    wanted = {one.name: one for one in with_inputs(student, context) if one.name in names}
    for stage in wanted.values():
        context.store.get(stage, Timed({}), context)
    return {name: context.store.folder(stage) for name, stage in wanted.items()}


def train(recipe: dict[str, Any], out: Path, seconds: dict[str, float]) -> tuple[list[Point], dict[str, float]]:
    """The curve of a student's training, and the seconds of the stages before it, which are part of the curve.

    Args:
        recipe: of the student.
        out: where stages lie.
        seconds: of the stages that trainings before it have made.
    """
    clock, seconds = Clock(), dict(seconds)
    student, context = student_of(recipe, out, clock)
    context.store.get(student, Timed(seconds), context)
    needed = {one.folder_name for one in with_inputs(student, context) if one.name.startswith(COUNTED)}
    stages = {name: seconds[name] for name in sorted(needed)}
    curve = [point._replace(seconds=point.seconds + sum(stages.values())) for point in clock.curve]
    return curve, stages
