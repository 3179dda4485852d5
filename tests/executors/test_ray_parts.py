"""What the executor for Ray does without a cluster: shares of machines, refusals of a machine, progress files."""

import json
import pickle
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.store.toy_stages import Text

from understudy.errors import ConfigError, UnderstudyError
from understudy.executors import executor_named
from understudy.executors._ray_cluster import MachineShare, connect, machine_share
from understudy.executors._ray_worker import Work, library_versions, make_here, new_messages
from understudy.executors._worker import Measurements, pickled_stage
from understudy.executors.ray import Ray
from understudy.store import Store


@pytest.fixture
def work(store: Store) -> Work:
    """A stage for this machine."""
    store.root.mkdir(parents=True)
    stage, messages = Text("a"), store.root / ".progress-1"
    messages.mkdir()
    return Work(pickled_stage(stage), stage.title, store, False, library_versions(), messages / "a-1")


@pytest.mark.parametrize(
    ("machines", "workers", "expected"),
    [
        ([{"CPU": 8}], 2, MachineShare(4)),
        ([{"CPU": 8}, {"CPU": 3}], 2, MachineShare(1)),
        ([{"CPU": 2}], 5, MachineShare(1)),
        ([{"memory": 1}, {"CPU": 4}], 1, MachineShare(4)),
        ([{"memory": 1}], 1, MachineShare(1)),
        ([{"CPU": 8, "GPU": 4}], 2, MachineShare(4, 2)),
        ([{"CPU": 8, "GPU": 1}], 4, MachineShare(2, 0.25)),
        ([{"GPU": 1}, {"CPU": 8}], 1, MachineShare(8)),
    ],
)
def test_a_stage_takes_its_share_of_the_smallest_machine(
    machines: list[dict[str, float]], workers: int, expected: MachineShare
) -> None:
    """Of cores and GPUs; machines without CPUs make no stages."""
    assert machine_share(machines, workers) == expected


def test_machines_with_and_without_gpus_are_refused() -> None:
    """The device would depend on where a stage runs; the message has the numbers and the option of `ray start`."""
    with pytest.raises(ConfigError, match=r"up to 2 GPUs and machines with none.*--num-cpus 0"):
        machine_share([{"CPU": 4, "GPU": 2}, {"CPU": 4}], 1)


def test_there_is_room_for_a_stage_per_share_and_for_one_at_least() -> None:
    """A machine that is smaller than the share has room for none."""
    assert MachineShare(2).room([{"CPU": 5}, {"CPU": 1}, {"CPU": 4}, {}]) == 4
    assert MachineShare(2).room([]) == 1


@pytest.mark.parametrize("workers", [0, -1])
def test_less_than_one_worker_is_refused(workers: int) -> None:
    """No stage could run."""
    with pytest.raises(ConfigError, match=f"{workers} workers per machine.*at least 1"):
        Ray(workers)


def test_a_missing_library_is_refused_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is made."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"not installed; pip install 'understudy\[ray\]'"):
        executor_named("ray", 2)


@pytest.mark.parametrize("address", ["10.0.0.1", "head"])
def test_an_address_without_a_port_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the address and the form that it should have."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=f"RAY_ADDRESS is {address}: an address is host:port"):
        connect()


def test_a_machine_makes_the_stage_and_writes_its_progress(work: Work) -> None:
    """The file has the lines and the measurements of the stage, in their order."""
    assert pickle.loads(make_here(work)) == "made"  # noqa: S301 - our own
    messages, read = new_messages(work.progress, 0)

    assert messages == [
        "writing a: started",
        "writing a: 50% of 4 parts half",
        Measurements("writing a", {"letters": 1}),
        "writing a: done",
    ]
    assert read == work.progress.stat().st_size
    assert pickle.loads(make_here(work)) == "found"  # noqa: S301 - our own


def test_a_machine_without_the_shared_folder_refuses_the_stage(work: Work, tmp_path: Path) -> None:
    """With its name and the folder; it makes no folder of its own."""
    elsewhere = tmp_path / "mounted"
    outcome = pickle.loads(  # noqa: S301 - our own
        make_here(replace(work, store=Store(elsewhere), progress=elsewhere / ".progress-1" / "a-1"))
    )

    assert isinstance(outcome, UnderstudyError)
    assert platform.node() in str(outcome)
    assert str(elsewhere / ".progress-1") in str(outcome)
    assert not elsewhere.exists()


def test_a_machine_with_other_versions_refuses_the_stage(work: Work) -> None:
    """With both versions; results would depend on the machine."""
    outcome = pickle.loads(make_here(replace(work, versions={"torch": "1.0"})))  # noqa: S301 - our own

    assert isinstance(outcome, UnderstudyError)
    assert library_versions()["torch"] in str(outcome)
    assert "the caller 1.0" in str(outcome)
    assert not list(work.store.root.glob("text-*"))


def test_a_line_that_is_half_written_is_read_later(tmp_path: Path) -> None:
    """A machine may be writing while the caller reads; a file that is not there yet has no lines."""
    file = tmp_path / "a-1"
    assert new_messages(file, 0) == ([], 0)
    whole, half = json.dumps("é one") + "\n", json.dumps("two")
    file.write_text(whole + half[:3])
    messages, read = new_messages(file, 0)
    file.write_text(whole + half + "\n")

    assert messages == ["é one"]
    assert new_messages(file, read) == (["two"], len((whole + half).encode()) + 1)


def test_the_executor_loads_ray_only_when_it_is_chosen() -> None:
    """Its module can be imported without the extra, and by the processes that make stages."""
    code = "import sys, understudy.executors.ray\nprint(sorted({'ray', 'torch', 'numpy'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"
