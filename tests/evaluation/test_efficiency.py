from pathlib import Path

import pytest

from understudy.config.decoding import Beam
from understudy.errors import EvaluationError
from understudy.evaluation import efficiency
from understudy.evaluation.efficiency import BenchmarkedSystem, Workload, measure_all, measure_efficiency
from understudy.progress import NO_VALUES

WORKLOAD = Workload(sources=((1, 2), (3,)), decoding=Beam(beams=2), max_tokens=5, threads=3)

FAKE_CHILD = """
import json, os, pathlib, sys
folder, workload = pathlib.Path(sys.argv[1]), json.load(sys.stdin)
if folder.name == "broken":
    sys.exit("first line\\nModelError: there is no network here")
log = folder.parent / "log"
with log.open("a") as file:
    file.write(folder.name)
calls = len(log.read_text())
print("a library greets")
how = json.dumps([workload["decoding"], os.environ["OMP_NUM_THREADS"]])
print(json.dumps(dict(parameters=10, disk_bytes=20, latency_p50_ms=calls**2, latency_p95_ms=2 * calls,
    throughput_per_s=-calls, peak_memory_bytes=calls, how=how)))
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A measuring process that needs no model and counts how often it was started."""
    (tmp_path / "fake_child.py").write_text(FAKE_CHILD, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(efficiency, "CHILD", "fake_child")
    return tmp_path


def test_the_workload_reaches_the_measuring_process(child: Path) -> None:
    """Decoding and threads arrive; what libraries print before the answer is ignored."""
    result = measure_efficiency(child / "a", WORKLOAD, workspace=child)

    assert result.how == '[{"kind": "beam", "beams": 2, "length_penalty": 1.0}, "3"]'
    assert (result.parameters, result.latency_p50_ms) == (10, 1)


def test_systems_are_measured_in_turn(child: Path) -> None:
    """A drift of the machine hits all systems alike, and each number is the median of its repeats."""
    measured: list[str] = []
    result = measure_all(
        {
            "teacher": BenchmarkedSystem(child / "t", child, WORKLOAD),
            "student": BenchmarkedSystem(child / "s", child, WORKLOAD),
        },
        repeats=3,
        progress=lambda amount, note="", values=NO_VALUES: measured.append(note * int(amount)),
    )

    assert (child / "log").read_text(encoding="utf-8") == "tststs"
    assert measured == ["teacher", "student"] * 3
    assert (result["teacher"].latency_p50_ms, result["student"].latency_p50_ms) == (3**2, 4**2)
    assert (result["teacher"].throughput_per_s, result["student"].peak_memory_bytes) == (-3, 4)
    assert result["teacher"].how.endswith(", median of 3 repeats")


def test_a_process_that_fails_is_reported_with_its_last_line(child: Path) -> None:
    """The message names the checkpoint, the engine and what the process said last."""
    with pytest.raises(EvaluationError, match=r"broken with engine 'auto' on cpu failed.*: ModelError: there is no"):
        measure_efficiency(child / "broken", WORKLOAD, workspace=child)


def test_a_workload_without_work_is_refused() -> None:
    """No process is started for nothing."""
    with pytest.raises(EvaluationError, match="at least one of each, got 0 sources, 5 max_tokens"):
        measure_efficiency(Path("any"), WORKLOAD.model_copy(update={"sources": ()}), workspace=Path("any"))
