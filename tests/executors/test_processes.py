"""Stages in worker processes: equal results, failures of stages and of workers, progress."""

import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from tests.store.toy_stages import (
    Bug,
    Interrupted,
    Killed,
    Refused,
    Text,
    Verbose,
    Waiting,
    Where,
    WhereAlone,
    WhereCalled,
    WordFacts,
    Words,
)

from understudy.errors import ConfigError, DataError, UnderstudyError
from understudy.executors.local import Local
from understudy.executors.processes import Processes
from understudy.progress import NoProgress, Values
from understudy.store import Stage, Store, WorkerContext
from understudy.store.manifest import MANIFEST, read_checked
from understudy.store.store import AnyStage, Outcome, failure_of


@dataclass
class Lines(NoProgress):
    """Collects the lines it is sent, with the process that received them."""

    lines: list[tuple[str, int]] = field(default_factory=list)
    values: list[tuple[str, Values]] = field(default_factory=list)

    def log(self, message: str) -> None:
        """Keeps one line."""
        self.lines.append((message, os.getpid()))

    def measured(self, title: str, values: Values) -> None:
        """Keeps what was measured."""
        self.values.append((title, values))


def files(root: Path) -> dict[str, object]:
    """Path inside the store -> bytes, of all that is visible; a manifest without the time it took."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("[!.]*")):
        name = str(path.relative_to(root))
        if path.name == MANIFEST:
            found[name] = {**read_checked(path), "seconds": 0}
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def test_workers_make_the_same_bytes_as_one_process(tmp_path: Path) -> None:
    """Folder names, files and manifests of stages that need each other and of shards, whatever runs side by side."""
    first = Text("a bc")
    left, right = Text("d", (first,)), Text("e", (first,))
    wanted: list[AnyStage] = [Text("f", (left, right)), Words(Text("g h", (left,)))]
    local, processes = Store(tmp_path / "local"), Store(tmp_path / "processes")
    outcomes = local.get_all(wanted, Local(), WorkerContext(local, NoProgress()))

    assert processes.get_all(wanted, Processes(2), WorkerContext(processes, NoProgress())) == outcomes
    assert set(outcomes.values()) == {"made"}
    assert files(processes.root) == files(local.root)


def test_stages_run_in_workers_or_in_the_caller(
    store: Store, context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As their class says. A worker keeps its engine for the next stage and has the threads it was given; the caller's
    variable stays as it is.
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    first = Where("a")
    second, here = Where("a", (first,)), WhereCalled("a", (first,))
    store.get_all([second, here], Processes(1, threads=3), context)
    one, two, caller = context.facts(first), context.facts(second), context.facts(here)

    assert one == two
    assert (one.threads, one.opened) == ("3", 1)
    assert one.process != caller.process == os.getpid()
    assert caller.threads == os.environ["OMP_NUM_THREADS"] == "7"


def test_a_stage_that_runs_alone_waits_for_the_workers(store: Store, context: WorkerContext) -> None:
    """A benchmark begins after the stages that were ready with it, although the caller is free."""
    order: list[str] = []
    wanted: list[AnyStage] = [WhereAlone("a"), Where("b")]
    store.get_all(wanted, Processes(1), context, observe=lambda stage, _outcome: order.append(stage.name))

    assert order == ["where", "where_alone"]


def test_a_killed_worker_fails_the_stage_it_made_and_no_other(store: Store) -> None:
    """The message names the stage, the exit code and what to do; another worker makes the rest, even of one."""
    progress = Lines()
    context = WorkerContext(store, progress)
    killed, after = Killed(), Text("a")
    stopped = Text("b", (killed,))
    outcomes = store.get_all([stopped, after], Processes(1), context)
    failure = outcomes[killed.key]

    assert isinstance(failure, UnderstudyError)
    assert killed.folder_name in str(failure)
    assert f"exit code -{signal.SIGKILL.value}" in str(failure)
    assert "fewer processes and run the same command again" in str(failure)
    assert outcomes == {killed.key: failure, after.key: "made"}
    assert failure_of(stopped, outcomes, context) is failure
    assert ("about to end", os.getpid()) in progress.lines


def test_a_worker_that_ends_between_two_stages_is_replaced(store: Store, context: WorkerContext) -> None:
    """No stage is lost with it."""
    first = Where()
    second = Where("a", (first,))

    def kill_the_worker(stage: AnyStage, outcome: Outcome) -> None:
        if stage == first:
            process = context.facts(first).process
            os.kill(process, signal.SIGKILL)
            os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)

    outcomes = store.get_all([second], Processes(1), context, observe=kill_the_worker)

    assert outcomes == {first.key: "made", second.key: "made"}
    assert context.facts(first).process != context.facts(second).process


def test_errors_of_a_worker_arrive(store: Store, context: WorkerContext) -> None:
    """A sentence with its class; an unexpected exception, whether it can be pickled or not, with its traceback."""
    outcomes = store.get_all([Refused(), Bug(), Text("a")], Processes(2), context)
    refused, bug = outcomes[Refused().key], outcomes[Bug().key]

    assert isinstance(refused, DataError)
    assert str(refused) == "line 7 has no source; add one"
    assert isinstance(bug, RuntimeError)
    assert str(bug) == "TwoPartError: one and two"
    assert "toy_stages.py" in bug.__notes__[0]
    assert outcomes[Text("a").key] == "made"


def test_an_error_that_cannot_be_unpickled_arrives(store: Store, context: WorkerContext) -> None:
    """One of the project that carries more than a string: the run goes on."""
    stage = Bug(expected=True)
    outcomes = store.get_all([stage, Text("a")], Processes(1), context)

    assert isinstance(outcomes[stage.key], RuntimeError)
    assert outcomes[Text("a").key] == "made"


def test_a_worker_ignores_the_signal_of_ctrl_c(store: Store, context: WorkerContext) -> None:
    """A terminal sends it to all processes; the caller decides what it means."""
    assert store.get_all([Interrupted()], Processes(1), context) == {Interrupted().key: "made"}


def test_a_stage_that_cannot_be_sent_is_refused(
    store: Store, context: WorkerContext, elsewhere: type[AnyStage]
) -> None:
    """One of a class inside a function, and one of a module that the worker cannot import: the others are made."""

    @dataclass(frozen=True)
    class Inside(Stage[WordFacts]):
        name: ClassVar[str] = "inside"

    inside, unknown = Inside(), elsewhere()
    outcomes = store.get_all([inside, unknown, Text("a", ())], Processes(1), context)

    for stage, reason in ((inside, f"{inside.folder_name} cannot be sent"), (unknown, "only_here")):
        outcome = outcomes[stage.key]
        assert isinstance(outcome, UnderstudyError)
        assert reason in str(outcome)
        assert "without worker processes" in str(outcome)
    assert outcomes[Text("a").key] == "made"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> type[AnyStage]:
    """A stage's class in a module that exists in this process only."""
    module: Any = ModuleType("only_here")
    monkeypatch.setitem(sys.modules, "only_here", module)
    source = "from dataclasses import dataclass\nfrom understudy.store import Stage\n\n"
    source += "@dataclass(frozen=True)\nclass Unknown(Stage):\n    name = 'unknown'\n"
    exec(source, module.__dict__)  # noqa: S102 - so that the class belongs to that module
    unknown: type[AnyStage] = module.Unknown
    return unknown


@pytest.mark.parametrize(("workers", "threads"), [(0, 1), (-1, 1), (2, 0)])
def test_less_than_one_worker_or_thread_is_refused(workers: int, threads: int) -> None:
    """No stage could run; the message has both numbers."""
    with pytest.raises(ConfigError, match=rf"{workers} worker processes with {threads} threads.*at least 1"):
        Processes(workers, threads)


def test_progress_of_workers_reaches_the_caller(store: Store) -> None:
    """Every line, in the order of each stage, also of stages that are done at once."""
    progress = Lines()
    context = WorkerContext(store, progress)
    store.get_all([Text("b", (Text("a"),))], Processes(1), context)

    expected = [f"writing {text}: {status}" for text in "ab" for status in ("started", "50% of 4 parts half", "done")]
    assert progress.lines == [(line, os.getpid()) for line in expected]
    assert progress.values == [("writing a", {"letters": 1}), ("writing b", {"letters": 3})]


def test_much_progress_does_not_stop_a_worker(store: Store, tmp_path: Path) -> None:
    """More than a pipe holds, while the caller is occupied with a stage of its own and reads none of it."""
    progress, pipe, lines = Lines(), str(tmp_path / "pipe"), 20_000
    os.mkfifo(pipe)
    context = WorkerContext(store, progress)
    stages = [Verbose(lines, pipe), Waiting(pipe)]

    assert store.get_all(stages, Processes(1), context) == {stage.key: "made" for stage in stages}
    assert [line for line, _ in progress.lines] == [f"line {number}" for number in range(lines)]
