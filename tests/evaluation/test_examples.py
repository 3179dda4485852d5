import pytest

from understudy.errors import ConfigError, EvaluationError
from understudy.evaluation.examples import best_and_worst
from understudy.records import Prediction

REFERENCE = "heavy snow this morning"


def answers(*texts: str) -> list[Prediction]:
    """One system's predictions, all with one reference."""
    return [Prediction(str(index), f"source {index}", (REFERENCE,), text) for index, text in enumerate(texts)]


SYSTEMS = {
    "student": answers(REFERENCE, "snow", "rain", "heavy snow", REFERENCE),
    "teacher": answers("rain", "heavy snow this", REFERENCE, "heavy snow", "snow"),
}


def test_the_largest_leads_and_lags_come_first() -> None:
    """Best examples fall from the largest lead, worst from the largest lag; a draw is neither."""
    best, worst = best_and_worst(SYSTEMS, system="student", against="teacher", metric="chrf")

    assert [shown.id for shown in best] == ["0", "4"]
    assert [shown.id for shown in worst] == ["2", "1"]


def test_an_example_shows_every_system() -> None:
    """Texts and scores of all systems, with the source and its references."""
    (shown,), _ = best_and_worst(SYSTEMS, system="student", against="teacher", metric="chrf", k=1)

    assert (shown.source, shown.references) == ("source 0", (REFERENCE,))
    assert shown.texts == {"student": REFERENCE, "teacher": "rain"}
    assert shown.scores["student"] == pytest.approx(100)
    assert shown.scores["teacher"] < 20


def test_systems_that_swap_roles_swap_the_lists() -> None:
    """One system's best examples are the other's worst."""
    best, worst = best_and_worst(SYSTEMS, system="student", against="teacher", metric="chrf")

    assert best_and_worst(SYSTEMS, system="teacher", against="student", metric="chrf") == (worst, best)


def test_an_unknown_system_is_answered_with_the_known_ones() -> None:
    """The message lists the systems there are."""
    with pytest.raises(ConfigError, match="unknown system 'gpt'; known: student, teacher"):
        best_and_worst(SYSTEMS, system="student", against="gpt", metric="chrf")


def test_systems_that_answered_other_examples_are_refused() -> None:
    """Texts for different sources are never compared."""
    with pytest.raises(EvaluationError, match="same examples in the same order"):
        best_and_worst({**SYSTEMS, "other": answers("snow")}, system="student", against="teacher", metric="chrf")
