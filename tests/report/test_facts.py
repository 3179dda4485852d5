import json
from pathlib import Path

from understudy.report.facts import Facts, metric_label, metrics_of, score_of, system_named, write_facts

REQUIRED = {"task", "primary_metric", "systems", "gap_closed"}
SYSTEM = {"name", "parameters", "disk_bytes", "scores", "latency_ms", "throughput_per_s", "peak_memory_bytes"}
SCORE = {"value", "low", "high", "signature", "label", "higher_is_better"}


def test_json_holds_the_facts_and_nothing_else(tmp_path: Path, facts: Facts) -> None:
    """Other tools read the facts that the pipeline collected, under stable keys."""
    write_facts(facts, tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text("utf-8"))

    assert read == facts
    assert read.keys() >= REQUIRED
    assert [system.keys() for system in read["systems"]] == [SYSTEM] * 3
    assert read["systems"][0]["scores"]["bleu"].keys() == SCORE
    assert read["gap_closed"]["bleu"].keys() == {"value", "low", "high"}


def test_nan_and_infinity_become_null(tmp_path: Path, facts: Facts) -> None:
    """The loss of a diverged run gives a file that every JSON reader accepts."""
    facts["curves"]["teacher"][0]["train_loss"] = float("nan")
    facts["systems"][0]["throughput_per_s"] = float("inf")
    write_facts(facts, tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text("utf-8"), parse_constant=lambda name: name)

    assert read["curves"]["teacher"][0]["train_loss"] is None
    assert read["systems"][0]["throughput_per_s"] is None


def test_missing_systems_and_scores_are_none(facts: Facts) -> None:
    """A run without a system or a score is valid."""
    assert system_named(facts, "nobody") is None
    assert score_of(system_named(facts, "teacher"), "meteor") is None
    assert score_of(None, "bleu") is None


def test_the_primary_metric_comes_first(facts: Facts) -> None:
    """Each metric is listed once, whatever the order of the scores."""
    facts["primary_metric"] = "rouge"
    assert metrics_of(facts) == ["rouge", "bleu"]


def test_the_label_of_a_metric_comes_from_its_scores(facts: Facts) -> None:
    """A metric that the report has never seen needs no entry here; without a score its name is the label."""
    facts["systems"][2]["scores"]["mine:own"] = facts["systems"][2]["scores"]["bleu"] | {"label": "My own"}

    assert metric_label(facts, "mine:own") == "My own"
    assert metric_label(facts, "meteor") == "meteor"
