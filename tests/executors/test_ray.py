"""Stages on a Ray cluster of this machine: equal results, failures of stages, of workers and of machines."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.executors.ray_machines import Machine
from tests.executors.test_processes import Lines, files
from tests.store.toy_stages import Bug, Killed, KilledOnce, Meeting, Refused, Text, Where, WhereCalled, Words

from understudy.errors import ConfigError, DataError, UnderstudyError
from understudy.executors import executor_named
from understudy.executors.local import Local
from understudy.executors.ray import Ray
from understudy.progress import NoProgress
from understudy.store import Store, WorkerContext
from understudy.store.locks import hold
from understudy.store.store import AnyStage, failure_of

pytest.importorskip("ray", reason="the extra ray is not installed: pip install -c constraints.txt -e '.[dev,ray]'")

ROOT = Path(__file__).parent.parent.parent
WAIT_S = 120
CALLER = """
import sys
from pathlib import Path
from tests.store.toy_stages import Meeting
from understudy.cli.signals import stopping_signals
from understudy.executors import executor_named
from understudy.progress import NoProgress
from understudy.store import Store, WorkerContext

store, place = Store(Path(sys.argv[1])), sys.argv[2]
try:
    with stopping_signals():
        stages = [Meeting(number, place, others=99) for number in (1, 2)]
        store.get_all(stages, executor_named("ray", 2), WorkerContext(store, NoProgress()))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Machine]:
    """A cluster of one machine with two cores, to which this process is connected."""
    import ray

    machine = Machine(cpus=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", machine.address)
        executor_named("ray", 2)
        yield machine
        ray.shutdown()
    machine.end()


@pytest.fixture
def two(head: Machine) -> Ray:
    """The executor that makes two stages side by side, each with one core."""
    return Ray(2)


def until(condition: Callable[[], bool]) -> None:
    """Returns once the condition holds; a test that hangs must end."""
    tick = threading.Event()
    for _ in range(WAIT_S * 20):
        if condition():
            return
        tick.wait(0.05)
    pytest.fail(f"{condition} did not hold within {WAIT_S} s")


def present(place: Path) -> dict[int, int]:
    """The number of each stage that is at the meeting -> its process."""
    names = [path.name.split("-") for path in place.iterdir() if not path.suffix]
    return {int(number): int(process) for number, process in names}


def test_the_cluster_makes_the_same_bytes_as_one_process(two: Ray, tmp_path: Path) -> None:
    """Folder names, files and manifests of stages that need each other and of shards; nothing else is left."""
    first = Text("a bc")
    left, right = Text("d", (first,)), Text("e", (first,))
    wanted: list[AnyStage] = [Text("f", (left, right)), Words(Text("g h", (left,)))]
    local, cluster = Store(tmp_path / "local"), Store(tmp_path / "cluster")
    outcomes = local.get_all(wanted, Local(), WorkerContext(local, NoProgress()))

    assert cluster.get_all(wanted, two, WorkerContext(cluster, NoProgress())) == outcomes
    assert set(outcomes.values()) == {"made"}
    assert files(cluster.root) == files(local.root)
    assert {path.name for path in cluster.root.iterdir()} == {path.name for path in local.root.iterdir()}


def test_a_relative_store_is_the_callers(two: Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the current folder of a worker is."""
    monkeypatch.chdir(tmp_path)
    store = Store(Path("runs/store"))
    stage = Words(Text("a b"))

    assert store.get_all([stage], two, WorkerContext(store, NoProgress()))[stage.key] == "made"
    assert (tmp_path / "runs/store" / stage.folder_name).is_dir()


def test_stages_run_in_workers_or_in_the_caller(head: Machine, store: Store, context: WorkerContext) -> None:
    """As their class says. A worker keeps its engine for the next stage and has the cores of its share as threads."""
    first = Where("a")
    second, here = Where("a", (first,)), WhereCalled("a", (first,))
    store.get_all([second, here], Ray(1), context)
    one, two, caller = context.facts(first), context.facts(second), context.facts(here)

    assert one == two
    assert (one.threads, one.opened) == ("2", 1)
    assert one.process != caller.process == os.getpid()


def test_progress_of_the_cluster_reaches_the_caller(two: Ray, store: Store) -> None:
    """Every line and every measurement, in the order of each stage, also of stages that are done at once."""
    progress = Lines()
    store.get_all([Text("b", (Text("a"),))], two, WorkerContext(store, progress))

    expected = [f"writing {text}: {status}" for text in "ab" for status in ("started", "50% of 4 parts half", "done")]
    assert progress.lines == [(line, os.getpid()) for line in expected]
    assert progress.values == [("writing a", {"letters": 1}), ("writing b", {"letters": 3})]


def test_errors_arrive_and_stop_what_needs_the_stage(two: Ray, store: Store, context: WorkerContext) -> None:
    """A sentence with its class, and an unexpected exception with its traceback; the rest is made."""
    needy = Text("b", (Refused(),))
    outcomes = store.get_all([needy, Bug(), Bug(expected=True), Text("a")], two, context)
    refused, bug = outcomes[Refused().key], outcomes[Bug().key]

    assert isinstance(refused, DataError)
    assert str(refused) == "line 7 has no source; add one"
    assert failure_of(needy, outcomes, context) is refused
    assert isinstance(bug, RuntimeError)
    assert str(bug) == "TwoPartError: one and two"
    assert "toy_stages.py" in bug.__notes__[0]
    assert isinstance(outcomes[Bug(expected=True).key], RuntimeError)
    assert outcomes[Text("a").key] == "made"
    assert needy.key not in outcomes


def test_a_stage_whose_worker_is_killed_resumes_in_another(two: Ray, store: Store) -> None:
    """The second attempt finds what the first one wrote, and the run says that there was one."""
    progress = Lines()
    outcomes = store.get_all([KilledOnce(), Text("b")], two, WorkerContext(store, progress))
    lines = [line for line, _ in progress.lines if not line.startswith("writing")]

    assert outcomes == {KilledOnce().key: "made", Text("b").key: "made"}
    assert lines[0] == "half is written"
    assert "its worker ended" in lines[1]
    assert "attempt 2 of 3" in lines[1]
    assert lines[2] == "found the first half"


def test_a_stage_whose_workers_are_all_killed_fails_and_no_other(two: Ray, store: Store) -> None:
    """After three attempts, with the stage's name and what to do."""
    progress = Lines()
    stopped = Text("b", (Killed(),))
    context = WorkerContext(store, progress)
    outcomes = store.get_all([stopped, Text("a")], two, context)
    failure = failure_of(stopped, outcomes, context)

    assert isinstance(failure, UnderstudyError)
    assert Killed().folder_name in str(failure)
    assert "3 workers" in str(failure)
    assert "run the same command again" in str(failure)
    assert outcomes == {Killed().key: failure, Text("a").key: "made"}
    assert [line for line, _ in progress.lines].count("about to end") == 3


def test_a_machine_that_joins_late_is_used_and_one_that_is_lost_is_not_needed(
    head: Machine, two: Ray, store: Store, context: WorkerContext, tmp_path: Path
) -> None:
    """Two stages occupy the first machine and wait for a third one, which needs the second machine. In another run the
    third stage is made again on the first machine, after the second one has lost its power.
    """
    place, lost = tmp_path / "place", tmp_path / "lost"
    place.mkdir()
    lost.mkdir()
    joined: list[Machine] = []

    def join() -> None:
        until(lambda: len(present(place)) == 2)
        joined.append(Machine(cpus=1, join=head.address))

    def lose() -> None:
        until(lambda: len(present(lost)) == 3)
        (lost / "4-0").write_text("")  # the two on the first machine end
        joined[0].end(signal.SIGKILL)

    for work, stages in (
        (join, [Meeting(number, str(place), 3) for number in (1, 2, 3)]),
        (lose, [Meeting(number, str(lost), 4) for number in (1, 2, 3)]),
    ):
        thread = threading.Thread(target=work)
        thread.start()
        outcomes = store.get_all(stages, two, context)
        thread.join()
        assert outcomes == {stage.key: "made" for stage in stages}


@pytest.fixture
def caller(head: Machine, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own, whose two stages do not end."""
    (tmp_path / "place").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(tmp_path / "store"), str(tmp_path / "place")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_no_process_and_no_lock_outlives_the_caller(
    caller: subprocess.Popen[str], tmp_path: Path, how: signal.Signals
) -> None:
    """After Ctrl-C, SIGTERM and SIGKILL; where it can, the caller waits for that."""
    place, store = tmp_path / "place", tmp_path / "store"
    until(lambda: len(present(place)) == 2)
    workers = set(present(place).values())
    caller.send_signal(how)
    out, err = caller.communicate(timeout=WAIT_S)

    if how is signal.SIGKILL:
        until(lambda: not any(map(psutil.pid_exists, workers)))
    assert not any(map(psutil.pid_exists, workers))
    # Ray writes lines of its own to standard output when a worker ends.
    assert "Traceback" not in out
    assert out.endswith("interrupted\n") != (how is signal.SIGKILL)
    assert not err
    for number in (1, 2):
        stage = Meeting(number, str(place), 99)
        with hold(store / f".{stage.folder_name}.lock", wait=False, making=store / stage.folder_name):
            assert (store / f"{stage.folder_name}.partial").is_dir()
    assert how is signal.SIGKILL or not list(store.glob(".progress-*"))


def test_without_a_cluster_the_executor_is_refused() -> None:
    """In one sentence, with the address and the command that starts a cluster."""
    script = "from understudy.executors import executor_named\nexecutor_named('ray', 2)"
    nowhere = os.environ | {"RAY_ADDRESS": "127.0.0.1:1"}
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, cwd=ROOT, env=nowhere, capture_output=True, text=True, check=False)
    last = ended.stderr.splitlines()[-1]

    assert last.startswith(f"{ConfigError.__module__}.{ConfigError.__name__}")
    assert "127.0.0.1:1" in last
    assert "ray start --head" in last
