"""Several processes on one store; threads stand for them, because a lock belongs to an open file, not to a process."""

import dataclasses
import fcntl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import ClassVar

import pytest
from tests.store.toy_stages import Text

from understudy.errors import StoreError
from understudy.store import Stage, Store, WorkerContext
from understudy.store.locks import hold
from understudy.store.store import attempt, make


@dataclass(frozen=True)
class GatedFacts:
    """Which attempt made the stage, and what it found."""

    attempt: int
    found: tuple[str, ...]


class Gate:
    """Holds the first attempt up until another process waits for it."""

    def __init__(self) -> None:
        self.attempts, self.begun, self.go_on, self.interrupted = 0, Event(), Event(), False


GATES: dict[str, Gate] = {}


@dataclass(frozen=True)
class Gated(Stage[GatedFacts]):
    """A stage whose first attempt waits at its gate."""

    gate: str
    name: ClassVar[str] = "gated"

    def run(self, folder: Path, context: WorkerContext) -> GatedFacts:
        """Writes a file and waits."""
        gate = GATES[self.gate]
        gate.attempts += 1
        found = tuple(path.name for path in folder.iterdir())
        if gate.attempts == 1:
            (folder / "file.txt").write_text("text")
            gate.begun.set()
            assert gate.go_on.wait(timeout=300)
            if gate.interrupted:
                raise KeyboardInterrupt
        return GatedFacts(gate.attempts, found)


@pytest.fixture
def gate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """The gate of this test; it opens when a lock is refused, which is when another process begins to wait."""
    gate, flock = GATES.setdefault(request.node.name, Gate()), fcntl.flock

    def noticed(file: int, how: int) -> None:
        try:
            flock(file, how)
        except OSError:
            gate.go_on.set()
            raise

    monkeypatch.setattr(fcntl, "flock", noticed)
    return gate


@pytest.fixture
def stage(request: pytest.FixtureRequest, gate: Gate) -> Gated:
    """The stage at the gate."""
    return Gated(request.node.name)


def waiting(context: WorkerContext) -> WorkerContext:
    """The context of a process that waits for stages that others make."""
    return dataclasses.replace(context, store=Store(context.store.root, wait=True))


def test_a_stage_that_another_process_makes_is_refused(context: WorkerContext) -> None:
    """Without waiting: the message names the stage and the ways out; afterwards the stage can be made."""
    stage, store = Text("a"), context.store
    store.root.mkdir(parents=True)
    with (store.root / f".{stage.folder_name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=rf"another process is making {stage.folder_name} in .*; wait .* --out"):
            make(stage, context)
        assert not store.folder(stage).with_name(f"{stage.folder_name}.partial").exists()

    assert make(stage, context) == "made"


def test_a_stage_that_another_process_makes_is_waited_for(context: WorkerContext, gate: Gate, stage: Gated) -> None:
    """The second process finds what the first made, and makes nothing."""
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(make, stage, waiting(context))
        assert gate.begun.wait(timeout=300)
        second = make(stage, waiting(context))

    assert (first.result(), second) == ("made", "found")
    assert context.facts(stage) == GatedFacts(1, ())


def test_a_stage_that_failed_elsewhere_is_made_by_the_process_that_waited(
    context: WorkerContext, gate: Gate, stage: Gated
) -> None:
    """It gets the lock and the files of the interrupted attempt."""
    gate.interrupted = True
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(make, stage, waiting(context))
        assert gate.begun.wait(timeout=300)
        second = make(stage, waiting(context))

    assert isinstance(first.exception(), KeyboardInterrupt)
    assert second == "made"
    assert context.facts(stage) == GatedFacts(2, ("file.txt",))
    assert [path.name for path in context.store.root.iterdir() if path.is_dir()] == [stage.folder_name]


def test_a_refusal_is_the_outcome_of_the_stage(context: WorkerContext, gate: Gate, stage: Gated) -> None:
    """So that the stages that do not need it go on; the process that makes it is not disturbed."""
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(make, stage, context)
        assert gate.begun.wait(timeout=300)
        refused = attempt(stage, context)

    assert isinstance(refused, StoreError)
    assert first.result() == "made"
    assert gate.attempts == 1


def test_a_lock_is_free_after_an_error(tmp_path: Path) -> None:
    """Whatever happens while it is held; a lock that is held is refused at once, with what it protects."""
    path, making = tmp_path / ".lock", tmp_path / "results.json"
    with hold(path, wait=False, making=making):
        refusal = pytest.raises(StoreError, match=r"another process is making results\.json")
        with refusal, hold(path, wait=False, making=making):
            pytest.fail("the lock is held twice")
    with pytest.raises(ZeroDivisionError), hold(path, wait=False, making=making):
        _ = 1 / 0

    with hold(path, wait=False, making=making):
        assert path.exists()
