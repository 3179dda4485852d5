import random

import numpy as np
import pytest
from tests.evaluation.tallied import tallied

from understudy.errors import EvaluationError
from understudy.evaluation.bootstrap import resample_weights
from understudy.evaluation.deferral import deferral_curve, not_worse, thresholds
from understudy.records import Prediction

WORDS = ["the", "a", "cat", "dog", "sat", "lay", "on", "under", "red", "mat"]
COUNT = 40


def system(seed: int, *, kept: float) -> list[Prediction]:
    """Texts that keep each word of their reference with some probability."""
    rng, references = random.Random(seed), random.Random(0)
    predictions = []
    for number in range(COUNT):
        reference = [references.choice(WORDS) for _ in range(8)]
        text = [word if rng.random() < kept else rng.choice(WORDS) for word in reference]
        predictions.append(Prediction(str(number), "", (" ".join(reference),), " ".join(text)))
    return predictions


STUDENT, TEACHER = system(1, kept=0.7), system(2, kept=0.9)
SURE = [random.Random(number).random() for number in range(COUNT)]
WEIGHTS = resample_weights(COUNT, resamples=200, seed=0)


@pytest.mark.parametrize("metric", ["bleu", "wer"])
def test_the_curve_is_that_of_a_plain_loop_over_mixed_texts(metric: str) -> None:
    """Each point is the corpus score of the texts that the system would give, computed anew."""
    student, teacher = tallied(metric, STUDENT), tallied(metric, TEACHER)

    curve = deferral_curve(student, teacher, SURE, thresholds(SURE), WEIGHTS)

    order = sorted(range(COUNT), key=lambda index: SURE[index])
    for step, point in enumerate(curve):
        deferred = set(order[: step * 2])
        mixed = [TEACHER[i] if i in deferred else STUDENT[i] for i in range(COUNT)]
        value = tallied(metric, mixed).value()
        share = value / teacher.value()
        assert point.deferred == pytest.approx(step / 20)
        assert point.score == pytest.approx(value)
        assert point.low <= point.score <= point.high
        assert point.quality == pytest.approx(share if metric == "bleu" else 1 / share)


def test_the_ends_are_student_and_teacher() -> None:
    """Nothing deferred, everything deferred; at both, a random choice is the same system."""
    student, teacher = tallied("bleu", STUDENT), tallied("bleu", TEACHER)

    first, *_, last = deferral_curve(student, teacher, SURE, thresholds(SURE), WEIGHTS)

    assert (first.deferred, first.score, first.random) == pytest.approx((0, student.value(), student.value()))
    assert (last.deferred, last.score, last.quality) == pytest.approx((1, teacher.value(), 1))
    assert (first.gain, first.gain_low, first.gain_high) == pytest.approx((0, 0, 0), abs=1e-9)


def test_random_deferral_has_the_mean_score_of_random_choices() -> None:
    """For a mean over examples exactly; here over 2,000 draws of half of the requests."""
    student, teacher = tallied("exact_match", STUDENT), tallied("exact_match", TEACHER)
    rng = random.Random(5)
    values = []
    for _ in range(2000):
        chosen = set(rng.sample(range(COUNT), COUNT // 2))
        mixed = [TEACHER[i] if i in chosen else STUDENT[i] for i in range(COUNT)]
        values.append(100 * sum(one.text == one.references[0] for one in mixed) / COUNT)

    (point,) = deferral_curve(student, teacher, SURE, [sorted(SURE)[COUNT // 2]], WEIGHTS)

    assert point.random == pytest.approx(sum(values) / len(values), abs=0.3)


def test_deferring_the_worst_texts_is_better_than_chance() -> None:
    """With a confidence that is the score itself, the interval of the gain excludes zero."""
    student, teacher = tallied("rouge1", STUDENT), tallied("rouge1", TEACHER)
    known = [float(one) / 101 + number / 1e6 for number, one in enumerate(student.per_example())]

    (point,) = deferral_curve(student, teacher, known, [sorted(known)[20]], WEIGHTS)

    assert point.gain == pytest.approx(point.score - point.random)
    assert 0 < point.gain_low <= point.gain <= point.gain_high


def test_a_text_as_good_as_the_teachers_counts_as_good() -> None:
    """Equal scores are not worse; for error rates lower is better."""
    student = [Prediction(str(i), "", ("a b c",), text) for i, text in enumerate(["a b c", "a b x", "x b c", "x"])]
    teacher = [Prediction(str(i), "", ("a b c",), text) for i, text in enumerate(["a b x", "a b c", "a b x", "y"])]

    for metric in ("rouge1", "wer"):
        assert not_worse(tallied(metric, student), tallied(metric, teacher)) == [True, False, True, True]


def test_other_examples_are_refused() -> None:
    """A mixture of texts for different inputs has no score."""
    with pytest.raises(EvaluationError, match="same examples"):
        deferral_curve(tallied("bleu", STUDENT), tallied("bleu", TEACHER[::-1]), SURE, [0.5], WEIGHTS)


def test_equal_probabilities_are_deferred_together() -> None:
    """A threshold cannot separate them: fewer are deferred than the step asks for."""
    at = thresholds([0.5] * 3 + [0.8], steps=4)

    assert at == [0, 0.5, 0.5, 0.8, 1]
    assert [np.mean([p < t for p in [0.5] * 3 + [0.8]]) for t in at] == [0, 0, 0, 0.75, 1]
