"""Whether requirements hold, on scores made by hand and against a plain bootstrap loop."""

import numpy as np
import pytest
from numpy.typing import ArrayLike
from sacrebleu import corpus_bleu
from tests.evaluation.tallied import tallied

from understudy.evaluation.bootstrap import resample_weights
from understudy.evaluation.margins import Margin, holds, measured_margin, score_margin
from understudy.evaluation.requirements import Requirement, parse_requirement
from understudy.evaluation.tally import Tally, mean_per_example, ratio
from understudy.records import Prediction

WEIGHTS_RN = resample_weights(40, resamples=200, seed=3)


def requirement(text: str) -> Requirement:
    """On a metric where higher is better (good) or lower is better (bad)."""
    return parse_requirement(text, metrics={"good": True, "bad": False}, systems=["other"])


def mean_of(values: ArrayLike, *, higher_is_better: bool = True) -> Tally:
    """A tally whose score is the mean of these values."""
    values = np.asarray(values, dtype=np.float64)
    ids = tuple(map(str, range(len(values))))
    return Tally("m", ids, mean_per_example(values), ratio, "m", higher_is_better)


def judge(text: str, candidate: float, other: float) -> bool:
    """Both systems have this value on each example."""
    one, two = mean_of([candidate] * 40), mean_of([other] * 40)
    found = requirement(text)
    return holds(found, score_margin(found, one, two if found.system else None, WEIGHTS_RN).margin)


@pytest.mark.parametrize(
    ("text", "candidate", "other", "expected"),
    [
        ("good >= other - 1", 59.0, 60.0, True),
        ("good >= other - 1", 58.99, 60.0, False),
        ("good > other - 1", 59.0, 60.0, False),
        ("good >= other - 1", 60.3 - 1.0, 60.3, True),
        ("good >= other - 2%", 49.0, 50.0, True),
        ("good >= other - 2%", 48.9, 50.0, False),
        ("good >= other + 2%", 51.0, 50.0, True),
        ("good >= other - 10%", -11.0, -10.0, True),
        ("good >= 30", 30.0, 0.0, True),
        ("bad <= other + 1", 11.0, 10.0, True),
        ("bad <= other + 1", 11.1, 10.0, False),
        ("bad < other", 10.0, 10.0, False),
        ("bad <= other + 10%", 11.0, 10.0, True),
        ("bad <= 5", 5.1, 0.0, False),
    ],
)
def test_requirements_hold_by_their_values(text: str, candidate: float, other: float, *, expected: bool) -> None:
    """A bound that is met exactly holds for >= and <= and not for > and <."""
    assert judge(text, candidate, other) == expected
    found = requirement(text)
    assert holds(found, measured_margin(found, candidate, other if found.system else None).margin) == expected


@pytest.mark.parametrize(
    ("text", "factor", "offset", "sign"),
    [
        ("good >= other - 1", 1.0, -1.0, 1),
        ("good >= other - 5%", 0.95, 0.0, 1),
        ("bad <= other + 0.5", 1.0, 0.5, -1),
        ("good >= 10", 0.0, 10.0, 1),
    ],
)
def test_the_interval_is_that_of_a_plain_paired_loop(text: str, factor: float, offset: float, sign: int) -> None:
    """Candidate and bound are averaged over the same drawn examples; the 5th and 195th of 200 are nearly the ends."""
    rng = np.random.default_rng(0)
    other_N = rng.normal(20, 5, size=40)
    candidate_N = other_N + rng.normal(0, 1, size=40)
    margins = []
    for drawn_N in np.random.default_rng(3).integers(40, size=(200, 40)):
        bound = factor * other_N[drawn_N].mean() + offset
        margins.append(sign * (candidate_N[drawn_N].mean() - bound))
    margins.sort()
    found = requirement(text)
    second = mean_of(other_N) if found.system else None
    margin = score_margin(found, mean_of(candidate_N), second, WEIGHTS_RN)

    assert margin.bound == pytest.approx(factor * other_N.mean() + offset)
    assert margin.margin == pytest.approx(sign * (candidate_N.mean() - margin.bound))
    # 2.5 % of 199 steps are 4.975: rounded outwards to the scores with the indices 4 and 195.
    assert (margin.low, margin.high) == pytest.approx((margins[4], margins[195]))


def test_a_margin_of_bleu_is_that_of_sacrebleu() -> None:
    """Corpus BLEU of the drawn texts, not the mean of sentences."""
    words = ["the", "cat", "sat", "on", "a", "mat", "near", "red", "door", "and", "slept"]
    rng = np.random.default_rng(1)
    references = [" ".join(rng.choice(words, size=9)) for _ in range(40)]
    one, two = ([" ".join(w if rng.random() > p else "x" for w in r.split()) for r in references] for p in (0.1, 0.2))
    first, second = (
        tallied("bleu", [Prediction(str(i), "", (r,), t) for i, (r, t) in enumerate(zip(references, own, strict=True))])
        for own in (one, two)
    )
    found = parse_requirement("bleu >= other + 3", metrics={"bleu": True}, systems=["other"])
    margin = score_margin(found, first, second, resample_weights(40, resamples=40, seed=3))

    assert margin.value == pytest.approx(corpus_bleu(one, [references]).score)
    assert margin.bound == pytest.approx(corpus_bleu(two, [references]).score + 3)
    drawn = [
        corpus_bleu([one[i] for i in row], [[references[i] for i in row]]).score
        - corpus_bleu([two[i] for i in row], [[references[i] for i in row]]).score
        - 3
        for row in np.random.default_rng(3).integers(40, size=(40, 40))
    ]
    assert (margin.low, margin.high) == pytest.approx((min(drawn), max(drawn)))


def test_what_was_measured_once_has_no_interval() -> None:
    """Latency, size and cost."""
    found = requirement("bad <= other - 50%")
    assert measured_margin(found, 9.0, 20.0) == Margin(value=9.0, bound=10.0, margin=1.0)


def test_a_score_that_is_no_number_never_holds() -> None:
    """Nan compares with nothing."""
    assert not holds(requirement("good >= 0"), float("nan"))
