"""Workers end with the process that started them, however that ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CALLER = """
import sys
from pathlib import Path
from tests.store.toy_stages import Endless
from understudy.executors.processes import Processes
from understudy.progress import NoProgress
from understudy.store import Store, WorkerContext

store = Store(Path(sys.argv[1]))
try:
    store.get_all([Endless(1), Endless(2)], Processes(2), WorkerContext(store, NoProgress()))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process, in a group of its own, with two workers that never end by themselves."""
    process = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(tmp_path / "store")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()


def workers_of(caller: subprocess.Popen[str]) -> set[int]:
    """The processes of both workers, once their stages run."""
    assert caller.stdout is not None
    return {int(caller.stdout.readline()) for _ in range(2)}


def output_until_all_end(caller: subprocess.Popen[str], workers: set[int]) -> tuple[str, str]:
    """What was written until the last process that holds the output has ended: the caller and all its workers."""
    try:
        return caller.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        for process in workers:
            os.kill(process, signal.SIGKILL)
        pytest.fail(f"the workers {workers} went on after their caller had ended")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=lambda how: how.name)
def test_workers_end_when_their_caller_is_killed(caller: subprocess.Popen[str], how: signal.Signals) -> None:
    """Without a message from it."""
    workers = workers_of(caller)
    caller.send_signal(how)

    assert output_until_all_end(caller, workers) == ("", "")
    assert caller.returncode == -how
    assert len(workers) == 2


def test_workers_end_when_their_caller_is_interrupted(caller: subprocess.Popen[str]) -> None:
    """Ctrl-C reaches the caller and the workers: the caller stops them, and none of them writes a traceback."""
    workers = workers_of(caller)
    os.killpg(caller.pid, signal.SIGINT)

    assert output_until_all_end(caller, workers) == ("interrupted\n", "")
    assert caller.returncode == 0
