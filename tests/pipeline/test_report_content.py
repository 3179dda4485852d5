"""Source consistency, training health and the reasons of a verdict, from predictions and facts."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from understudy.evaluation.bootstrap import resample_weights
from understudy.pipeline.run import Run
from understudy.pipeline.stages.not_learned import reasons_not_learned, teacher_problems
from understudy.pipeline.stages.predictions import TOP_TOKENS
from understudy.pipeline.stages.report_content import consistency_facts, empty_outputs
from understudy.pipeline.stages.report_examples import INVENTED, RANDOM, STUDENT_AHEAD, shown_examples
from understudy.records import Prediction
from understudy.report.facts import Facts


def system(texts: Sequence[str]) -> list[Prediction]:
    """Predictions for sources that state one price each."""
    return [Prediction(str(at), f"price {at + 10}", (f"it costs {at + 10}",), text) for at, text in enumerate(texts)]


TEACHER = system([f"it costs {at + 10}" for at in range(60)])
STUDENT = system([f"it costs {at + 10 + 100 * (at < 42)}" for at in range(60)])
PREDICTIONS = {"teacher": TEACHER, "student": STUDENT}


def test_wrong_prices_are_counted_and_the_student_is_worse() -> None:
    """42 of 60 outputs; the references show that nothing needs to be invented."""
    facts = consistency_facts(
        PREDICTIONS, distilled="student", prompt="", fields={}, weights_RN=resample_weights(60, resamples=100, seed=0)
    )

    assert facts["systems"]["student"]["outputs_with_invented"] == 42
    assert facts["systems"]["student"]["invented"]["value"] == pytest.approx(70)
    assert facts["systems"]["references"]["invented"] == {"value": 0, "low": 0, "high": 0}
    assert facts["advantages"]["invented"]["value"] == pytest.approx(-70)
    assert facts["worse"] == ["missing", "invented"]


def test_equal_systems_are_not_worse() -> None:
    """Sources and outputs without items have no rate at all."""
    plain = {name: [Prediction("0", "a pen", ("pen",), "pen")] for name in ("teacher", "student")}
    facts = consistency_facts(
        plain, distilled="student", prompt="", fields={}, weights_RN=resample_weights(1, resamples=20, seed=0)
    )

    assert facts["worse"] == []
    assert facts["systems"]["student"]["missing"]["value"] is None


@pytest.mark.parametrize(
    ("source", "reference", "names"),
    [
        ("Oslo: 3", "In Oslo", True),
        ("北京：3", "In Beijing", False),
        ("Oslo: 3", "ราคา 3 บาท KX", False),
        ("3", "3", True),
    ],
)
def test_facts_say_whether_names_are_checked(source: str, reference: str, *, names: bool) -> None:
    """Not if the sources or the references are in a script without capitals."""
    outputs = [Prediction("0", source, (reference,), reference)]
    facts = consistency_facts(
        {"teacher": outputs, "student": outputs},
        distilled="student",
        prompt="",
        fields={},
        weights_RN=resample_weights(1, resamples=20, seed=0),
    )

    assert facts["names"] is names


def test_examples_say_what_they_show() -> None:
    """Those that only the student invents in, with the items; every tag is a statement."""
    examples = shown_examples(PREDICTIONS, "student", prompt="", seed=1)
    invented = [one for one in examples if one["tag"] == INVENTED]

    assert {one["tag"] for one in examples} <= {STUDENT_AHEAD, "teacher ahead by chrF", INVENTED, RANDOM}
    assert len(invented) == 12
    assert invented[0]["item_errors"] == {"student": {"missing": ["10"], "invented": ["110"]}}


def score(value: float, half: float = 1.0) -> dict[str, Any]:
    """A score of BLEU."""
    return {
        "bleu": {"value": value, "low": value - half, "high": value + half, "label": "BLEU", "higher_is_better": True}
    }


def texts(*, unfinished: float | None = 0.0, repetition: float = 0.0, empty: float = 0.0) -> dict[str, float | None]:
    """What the outputs of a system show."""
    return {"unfinished": unfinished, "repetition": repetition, "empty": empty}


def a_run(own: float, *, baseline: float | None = 40.0, teacher: float = 60.0, **health: object) -> Facts:
    """The facts that decide whether a student has learned."""
    systems = [("teacher", teacher), ("fine_tuned", baseline), ("own", own)]
    facts = {
        "primary_metric": "bleu",
        "method": "own",
        "systems": [{"name": name, "scores": score(value)} for name, value in systems if value is not None],
        "health": {"own": {"steps": 500, "warmup_steps": 100, "evaluations": 1, "dev_moved": True} | texts() | health},
    }
    if baseline is not None:
        lead = own - baseline
        facts["differences"] = {"bleu": {"value": lead, "low": lead - 2, "high": lead + 2}}
    return cast(Facts, facts)


@pytest.mark.parametrize(
    ("facts", "reasons"),
    [
        (a_run(50), []),
        (a_run(58, steps=20), []),
        (a_run(0.1, baseline=None), ["BLEU is 0.1"]),
        (a_run(0.1, baseline=0.2), ["BLEU is 0.1"]),
        (a_run(12), ["its BLEU is less than half of the fine-tuned student's"]),
        (a_run(39, steps=24), ["it was trained for 24 steps, fewer than the 100 of warm-up"]),
        (a_run(39, baseline=None, dev_moved=False, evaluations=3), ["the dev score never moved in 3 evaluations"]),
        (a_run(60, baseline=None, steps=24, dev_moved=False), []),
        (a_run(35), []),
        (a_run(50, unfinished=0.5), ["50\u202f% of its outputs were cut at the length limit"]),
        (a_run(50, unfinished=0.4, repetition=0.4), []),
        (a_run(50, repetition=0.3, empty=0.25), ["55\u202f% of its outputs repeat themselves or are empty"]),
    ],
)
def test_when_a_student_has_not_learned(facts: Facts, reasons: list[str]) -> None:
    """A score near 0 or far below the baseline; few steps or a flat dev metric where the score is behind. One look at
    dev is enough, and a pretrained student that needs few steps has learned.
    """
    assert reasons_not_learned(facts) == reasons


def test_texts_that_repeat_are_no_sign_where_references_repeat() -> None:
    """Poems, tables and long texts."""
    facts = a_run(50, repetition=0.9)
    facts["health"]["references"] = cast(Any, texts(unfinished=None, repetition=0.5))

    assert reasons_not_learned(facts) == []


@pytest.mark.parametrize(
    ("score_of_teacher", "outputs", "why"),
    [
        (0.17, texts(), "BLEU is 0.2"),
        (60, texts(unfinished=1), "100\u202f% of its outputs were cut at the length limit"),
    ],
)
def test_a_teacher_that_has_not_learned_is_a_reason(
    score_of_teacher: float, outputs: dict[str, float | None], why: str
) -> None:
    """Next to those of the student, which may be better than the fine-tuned student. An API teacher is never one."""
    facts = a_run(5.2, baseline=1.2, teacher=score_of_teacher, unfinished=1)
    facts["health"]["teacher"] = cast(Any, outputs)
    facts["pool"] = {"texts": 240}

    assert reasons_not_learned(facts) == [
        "100\u202f% of its outputs were cut at the length limit",
        "the teacher has not learned either, and the pseudo-targets are its texts",
    ]
    assert teacher_problems(facts) == [why]
    facts["health"]["teacher"]["unfinished"] = None
    assert len(reasons_not_learned(facts)) == 1
    assert teacher_problems(facts) == []


@pytest.mark.trains
def test_a_run_reports_consistency_and_health(finished: Run) -> None:
    """For each system and the references; agreement is that of the saved tokens, the teacher's with itself is 1."""
    facts = finished.facts
    names = ["teacher", "fine_tuned", "joint_teaching"]
    tokens = {name: np.load(finished.stages[f"predictions_{name}"] / TOP_TOKENS) for name in names}
    health, parameters = facts["health"], {one["name"]: one["parameters"] for one in facts["systems"]}

    assert list(health) == list(facts["consistency"]["systems"]) == [*names, "references"]
    for name in names:
        assert health[name]["steps"]
        assert health[name]["trained_parameters"] == parameters[name]
        assert health[name]["warmup_steps"] == 2
        assert health[name]["evaluations"] == 2
        agreement = (tokens[name][1] == tokens["teacher"][1]).mean()
        assert health[name]["top_token_agreement"]["value"] == pytest.approx(agreement)
        assert health[name]["unfinished"] is not None
    assert health["teacher"]["top_token_agreement"]["value"] == 1
    assert health["references"]["length_ratio"] == 1
    assert health["references"]["repetition"] == 0
    assert facts["not_learned"]  # two epochs of a network of width 8


def test_empty_outputs_are_a_warning() -> None:
    """For each system that has some; white space is no text."""
    outputs = {
        "teacher": [Prediction("a", "x", ("y",), " "), Prediction("b", "x", ("y",), "z")],
        "fine_tuned": [Prediction("a", "x", ("y",), "z")],
    }

    assert empty_outputs(outputs) == ["Teacher: 1 of 2 outputs are empty."]
