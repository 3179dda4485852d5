"""The confidence of a run's student: what is recorded of it, what it becomes in the report, and who reads it."""

import json
import math
import shutil
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from understudy.config.read import check_recipe
from understudy.evaluation.metrics import METRICS, SystemOutputs, tally
from understudy.evaluation.predictions import read_predictions
from understudy.pipeline.delivery import report_facts
from understudy.pipeline.inspect.deploy import confidence_of, deployment, no_confidence
from understudy.pipeline.inspect.open import OpenedRun, open_run
from understudy.pipeline.run import Run, run
from understudy.pipeline.stages.confidences import read_confidences
from understudy.records import Prediction
from understudy.report.confidence_facts import ConfidenceFacts, DeferralFacts, ReliabilityFacts
from understudy.serving.deployment import open_deployment

STAGES = ("confidences", "deferral")


@pytest.fixture(scope="module")
def opened(finished: Run) -> OpenedRun:
    """The finished run."""
    return open_run(finished.folder)


def texts_of(opened: OpenedRun, system: str, split: str) -> list[Prediction]:
    """What a system generated."""
    return read_predictions(opened.predictions(system) / f"{split}.jsonl")


def sentence_scores(texts: list[Prediction]) -> list[float]:
    """BLEU of each text alone."""
    return [tally(METRICS["bleu"], SystemOutputs([one])).value() for one in texts]


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_recorded_confidence_is_that_of_an_answer(finished: Run, opened: OpenedRun, split: str) -> None:
    """For each evaluated source, what the deployed student answers has the same text, confidence and length."""
    predictions = texts_of(opened, opened.facts["method"], split)
    recorded = read_confidences(opened.stage("confidences"), split)

    with open_deployment(deployment(finished.folder), device="cpu", threads=1) as answering:
        answers = answering.answers([one.source for one in predictions])

    assert [one.id for one in recorded] == [one.id for one in predictions]
    assert [one.text for one in answers] == [one.text for one in predictions]
    assert [one.confidence for one in recorded] == pytest.approx([one.confidence for one in answers], rel=1e-6)
    assert [one.tokens for one in recorded] == [one.tokens for one in answers]


def test_the_report_has_the_documented_keys_and_no_others(finished: Run) -> None:
    """The facts, each bin and each point; 21 points on each split; costs only where prices are known."""
    facts: Any = json.loads((finished.folder / "report.json").read_text())["confidence"]

    assert facts.keys() == get_type_hints(ConfidenceFacts).keys()
    assert facts["system"] == "joint_teaching"
    for split in ("dev", "test"):
        assert len(facts[split]) == 21
        assert all(point.keys() == get_type_hints(DeferralFacts).keys() - {"cost"} for point in facts[split])
    for bins in (facts["reliability"], facts["reliability_before"]):
        assert all(one.keys() == get_type_hints(ReliabilityFacts).keys() for one in bins)
        assert sum(one["count"] for one in bins) == 8
    assert facts["notes"] == ["Dev has 6 examples, too few to calibrate on."]


def test_the_curve_leads_from_the_students_score_to_the_teachers(finished: Run) -> None:
    """At both ends, on both splits, it is what the report says of the systems."""
    facts = finished.facts
    own, systems = facts["confidence"], {system["name"]: system["scores"]["bleu"] for system in facts["systems"]}

    for at, name in ((0, own["system"]), (-1, "teacher")):
        assert own["test"][at]["score"] == pytest.approx(systems[name]["value"])
        assert own["test"][at]["low"] == pytest.approx(systems[name]["low"])
        assert own["dev"][at]["score"] == pytest.approx(facts["dev"][name]["bleu"])
    assert [own["test"][at]["deferred"] for at in (0, -1)] == [0, 1]
    assert [point["threshold"] for point in own["test"]] == [point["threshold"] for point in own["dev"]]


def test_the_calibration_error_follows_from_the_recorded_confidences(opened: OpenedRun) -> None:
    """Recomputed from the files: with eight texts each bin holds one."""
    own = opened.facts["confidence"]
    student, teacher = (sentence_scores(texts_of(opened, name, "test")) for name in (own["system"], "teacher"))
    events = [one >= other for one, other in zip(student, teacher, strict=True)]
    recorded = [one.confidence for one in read_confidences(opened.stage("confidences"), "test")]

    def calibrated(confidence: float) -> float:
        logit = math.log(confidence / (1 - confidence))
        return 1 / (1 + math.exp(-logit / own["temperature"] - own["offset"]))

    after = [abs(calibrated(one) - event) for one, event in zip(recorded, events, strict=True)]
    before = [abs(one - event) for one, event in zip(recorded, events, strict=True)]
    assert own["error_after"] == pytest.approx(sum(after) / 8)
    assert own["error_before"] == pytest.approx(sum(before) / 8)
    assert own["not_worse"] == sum(events) / 8


def test_prices_give_the_cost_of_each_point(finished: Run, tiny: dict[str, Any]) -> None:
    """The student answers all requests, the teacher those that are deferred; no stage is made again."""
    recipe = check_recipe(tiny | {"evaluation": tiny["evaluation"] | {"price_per_hour": 2.0}})
    facts = report_facts(recipe, finished.stages, made=set())
    per_1000 = facts["costs"]["per_1000"]

    for point in (*facts["confidence"]["dev"], *facts["confidence"]["test"]):
        expected = per_1000["joint_teaching"] + point["deferred"] * per_1000["teacher"]
        assert point["cost"] == pytest.approx(expected)


def test_a_server_gets_the_calibration_and_the_curve_on_dev(finished: Run) -> None:
    """Of the distilled student, by either name; of no other system."""
    own, facts = confidence_of(finished.folder), finished.facts["confidence"]

    assert own
    assert own == confidence_of(finished.folder, "joint_teaching")
    assert (own.metric, own.calibration.temperature) == ("bleu", facts["temperature"])
    assert [point.score for point in own.dev] == [point["score"] for point in facts["dev"]]
    assert own.threshold(0.0) == 0.0
    assert own.point(1.0).quality >= 1
    assert confidence_of(finished.folder, "fine_tuned") is None
    assert "only of the distilled student (joint_teaching)" in no_confidence(finished.folder)


def test_a_run_of_an_earlier_version_gets_its_confidence_and_trains_nothing(
    tiny: dict[str, Any], finished: Run, out: Path, tmp_path: Path
) -> None:
    """Running its recipe again makes the two stages; without the student's predictions it makes nothing."""
    shutil.copytree(out, tmp_path / "runs", symlinks=True)
    folder, store = tmp_path / "runs" / tiny["name"], tmp_path / "runs" / "store"

    def without(*labels: str) -> None:
        for label in labels:
            shutil.rmtree(store / finished.stages[label].name)

    def made() -> list[str]:
        stages = run(check_recipe(tiny), out=tmp_path / "runs").facts["stages"]
        return [stage["name"] for stage in stages if not stage["reused"]]

    without(*STAGES)
    assert confidence_of(folder) is None
    assert "run its recipe again" in no_confidence(folder)
    assert made() == ["confidences", "deferral"]
    assert open_run(folder).facts["confidence"] == finished.facts["confidence"]

    without(*STAGES, "predictions_joint_teaching")
    assert made() == []
    assert confidence_of(folder) is None
