from importlib.metadata import version

import pytest

from understudy.errors import ConfigError, EvaluationError
from understudy.evaluation.metrics import METRICS, tally
from understudy.records import Prediction

FULL = [Prediction("0", "s", ("a b c d e",), "a b c d e"), Prediction("1", "s", ("f g h i j", "k"), "f g h i j")]
EMPTY = [FULL[0], Prediction("1", "s", ("f g h i j", "k"), "")]


PERFECT = {"bleu": 100, "chrf": 100, "rouge": 100, "rouge1": 100, "rouge2": 100, "rougeL": 100, "wer": 0}
"""What a text equal to its reference scores, by the metrics that need nothing but references."""


@pytest.mark.parametrize("name", PERFECT)
def test_an_empty_text_is_scored(name: str) -> None:
    """A system that writes nothing for an example loses, the example stays."""
    sign = 1 if METRICS[name].higher_is_better else -1

    assert tally(name, FULL).value() == pytest.approx(PERFECT[name])
    assert sign * tally(name, EMPTY).value() < sign * PERFECT[name]
    assert tally(name, EMPTY).ids == ("0", "1")


def test_the_signature_says_what_changes_the_value() -> None:
    """Counts, settings and versions follow the name and what the caller adds."""
    expected = (
        "bleu|data:c0ffee12|decoding:greedy|n:2|refs:1-2|case:mixed|tok:13a|smooth:exp"
        f"|sacrebleu:{version('sacrebleu')}|understudy:{version('understudy')}"
    )

    assert tally("bleu", FULL, fields={"data": "c0ffee12", "decoding": "greedy"}).signature == expected


def test_one_number_of_references_is_one_number() -> None:
    """A range is written only where there is one, and not at all where no reference is read."""
    assert "|refs:1|" in tally("chrf", FULL[:1]).signature
    assert "refs" not in tally("distinct_1", FULL).signature


def test_an_unknown_metric_is_answered_with_the_known_ones() -> None:
    """The message proposes the nearest name."""
    with pytest.raises(ConfigError, match=r"unknown metric 'blue'; known: bertscore, bleu, .*did you mean 'bleu'"):
        tally("blue", FULL)


def test_no_predictions_are_refused() -> None:
    """A score of nothing would be a number."""
    with pytest.raises(EvaluationError, match="bleu was asked for no predictions at all"):
        tally("bleu", [])


def test_missing_references_are_refused() -> None:
    """The message counts them and names the first."""
    with pytest.raises(EvaluationError, match="1 of 3 predictions have none \\(first: 'x'\\)"):
        tally("rouge", [*FULL, Prediction("x", "s", (), "text")])


def test_a_missing_encoder_is_refused() -> None:
    """BERTScore is nothing without a network."""
    with pytest.raises(EvaluationError, match=r"bertscore needs an encoder and got none; set task\.bertscore\.model"):
        tally("bertscore", FULL)


def test_a_missing_checker_is_refused() -> None:
    """Slot errors cannot be counted by a task that does not know its facts."""
    with pytest.raises(EvaluationError, match="slot_error_rate needs the task's checker"):
        tally("slot_error_rate", FULL)
