import json
from pathlib import Path

from understudy.report.facts import Facts, metrics_of, score_of, system_named, write_json

CONTRACT = {"task", "primary_metric", "systems", "gap_closed"}
SYSTEM = {"name", "parameters", "disk_bytes", "scores", "latency_ms", "throughput_per_s", "peak_memory_bytes"}


def test_json_holds_the_facts_and_nothing_else(tmp_path: Path, facts: Facts) -> None:
    """What other tools read is what the pipeline gathered, under the names that never change."""
    write_json(facts, tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text("utf-8"))

    assert read == facts
    assert read.keys() >= CONTRACT
    assert [system.keys() for system in read["systems"]] == [SYSTEM] * 3
    assert read["systems"][0]["scores"]["bleu"].keys() == {"value", "low", "high", "signature"}
    assert read["gap_closed"]["bleu"].keys() == {"value", "low", "high"}


def test_numbers_that_are_none_become_null(tmp_path: Path, facts: Facts) -> None:
    """A loss that diverged leaves a file that every JSON reader accepts."""
    facts["curves"]["teacher"][0]["train_loss"] = float("nan")
    facts["systems"][0]["throughput_per_s"] = float("inf")
    write_json(facts, tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text("utf-8"), parse_constant=lambda name: name)

    assert read["curves"]["teacher"][0]["train_loss"] is None
    assert read["systems"][0]["throughput_per_s"] is None


def test_what_is_absent_is_found_to_be_absent(facts: Facts) -> None:
    """A run without a system or a score is a run like others."""
    assert system_named(facts, "nobody") is None
    assert score_of(system_named(facts, "teacher"), "meteor") is None
    assert score_of(None, "bleu") is None


def test_the_primary_metric_comes_first(facts: Facts) -> None:
    """Whatever the order of the scores, each metric is listed once."""
    facts["primary_metric"] = "rouge"
    assert metrics_of(facts) == ["rouge", "bleu"]
