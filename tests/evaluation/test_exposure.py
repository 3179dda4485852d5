from itertools import product
from math import log, prod

import numpy as np
import pytest
import torch
from torch import Tensor

from understudy.errors import EvaluationError
from understudy.evaluation.bootstrap import resample_weights
from understudy.evaluation.disagreement import measure_disagreement
from understudy.evaluation.exposure import exposure_curve, mean_by_position
from understudy.evaluation.tally import FloatArray, IntArray

START = {"teacher": (2, 1, 1), "student": (1, 2, 1)}
NEXT = {
    "teacher": ((2, 1, 1), (1, 2, 1), (1, 1, 2)),
    "student": ((2, 1, 1), (1, 1, 2), (2, 1, 1)),
}
"""Two Markov chains over three tokens, in quarters: the first token, and each token's successor.

They agree on what follows the teacher's favourite beginning, not on what follows the student's.
"""
STEPS = 3


def quarters(who: str, prefix: tuple[int, ...]) -> tuple[int, ...]:
    """The distribution of the next token, in quarters."""
    return NEXT[who][prefix[-1]] if prefix else START[who]


def weight(who: str, text: tuple[int, ...]) -> int:
    """The probability of a text, in 64ths."""
    return prod(quarters(who, text[:t])[token] for t, token in enumerate(text))


def divergence(prefix: tuple[int, ...]) -> float:
    """KL(teacher || student) after a prefix."""
    pairs = zip(quarters("teacher", prefix), quarters("student", prefix), strict=True)
    return sum(p / 4 * log(p / q) for p, q in pairs)


def exact(who: str, t: int) -> float:
    """The expected divergence at position t over all prefixes of a writer, enumerated."""
    return sum(weight(who, prefix) * divergence(prefix) for prefix in product(range(3), repeat=t)) / float(4**t)


def chain(who: str, target_ids_BT: Tensor, target_mask_BT: Tensor) -> Tensor:
    """The chain as a network."""
    rows = [
        quarters(who, tuple(text[:t]))
        for text, mask in zip(target_ids_BT.tolist(), target_mask_BT.tolist(), strict=True)
        for t, known in enumerate(mask)
        if known
    ]
    return torch.tensor(rows).log()


def all_texts(who: str) -> list[tuple[int, ...]]:
    """Every text of three tokens as often as the writer would write it in 64 draws."""
    return [text for text in product(range(3), repeat=STEPS) for _ in range(weight(who, text))]


def nested(rows: list[FloatArray]) -> list[list[FloatArray]]:
    """One text per source."""
    return [[row] for row in rows]


def divergences(who: str) -> list[list[FloatArray]]:
    """The result of `measure_disagreement` for 64 texts of one model, each of a source of its own."""

    def teacher(*, target_ids_BT: Tensor, target_mask_BT: Tensor, **_: Tensor) -> Tensor:
        return chain("teacher", target_ids_BT, target_mask_BT)

    def student(*, target_ids_BT: Tensor, target_mask_BT: Tensor, **_: Tensor) -> Tensor:
        return chain("student", target_ids_BT, target_mask_BT)

    texts, sources = all_texts(who), [[0]] * 64
    readings = measure_disagreement(
        teacher, student, teacher_sources=sources, student_sources=sources, texts=texts, vocabulary=3
    )
    return nested([reading.kl_T for reading in readings])


def once(sources: int) -> IntArray:
    """The one resample that draws every source once."""
    return np.ones((1, sources), dtype=np.int64)


def test_the_curve_is_the_definition_enumerated() -> None:
    """Two Markov chains of three tokens and three steps, every prefix with its exact probability."""
    curve = exposure_curve(divergences("student"), divergences("teacher"), once(64))
    regret = np.cumsum([exact("student", t) for t in range(STEPS)])
    error = np.cumsum([exact("teacher", t) for t in range(STEPS)])

    assert regret[-1] > 1.1 * error[-1]
    np.testing.assert_allclose(curve.excess_L, 100 * (regret - error) / error, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(curve.on_student_L, [exact("student", t) for t in range(STEPS)], rtol=1e-6)
    np.testing.assert_allclose(curve.on_teacher_L, [exact("teacher", t) for t in range(STEPS)], rtol=1e-6)


def test_texts_that_ended_are_no_prefixes() -> None:
    """The mean at a position is over the texts that have it, whichever source they are of."""
    student = [[np.array([1.0, 3.0]), np.array([2.0])], [np.array([3.0, 5.0])]]
    teacher = nested([np.array([1.0, 1.0]), np.array([1.0, 1.0, 9.0])])
    curve = exposure_curve(student, teacher, once(2))

    assert curve.on_student_L.tolist() == [2, 4]
    assert curve.excess_L.tolist() == [100, 200]


def test_the_curve_ends_where_few_texts_go_on() -> None:
    """With a quarter of four texts needed one is enough, with half it is not."""
    texts = nested([np.ones(length) for length in (1, 2, 2, 5)])

    assert len(exposure_curve(texts, texts, once(4), min_share=0.25).excess_L) == 5
    assert len(exposure_curve(texts, texts, once(4), min_share=0.5).excess_L) == 2
    assert mean_by_position(texts, min_share=1.0).tolist() == [1]


def test_intervals_are_those_of_resampled_sources() -> None:
    """A loop that draws sources and takes the means anew finds the same ends."""
    rng = np.random.default_rng(0)
    student, teacher = (nested([rng.random(3) * scale for _ in range(20)]) for scale in (2, 1))
    weights_RN = resample_weights(20, resamples=41, seed=1)
    curve = exposure_curve(student, teacher, weights_RN)
    slow = []
    for weights_N in weights_RN:
        drawn = np.repeat(np.arange(20), weights_N)
        sums = [np.mean([texts[i][0] for i in drawn], axis=0).sum() for texts in (student, teacher)]
        slow.append(100 * (sums[0] - sums[1]) / sums[1])

    assert curve.low_L[-1] == pytest.approx(sorted(slow)[1])
    assert curve.high_L[-1] == pytest.approx(sorted(slow)[-2])
    assert (curve.low_L <= curve.excess_L).all()
    assert (curve.excess_L <= curve.high_L).all()


def test_a_resample_without_a_long_text_keeps_the_mean_of_all() -> None:
    """Nothing becomes nan."""
    texts = nested([np.array([1.0]), np.array([1.0, 2.0])])
    curve = exposure_curve(texts, texts, np.array([[2, 0], [0, 2]]))

    assert curve.low_L.tolist() == curve.high_L.tolist() == [0, 0]


def test_a_student_that_is_its_teacher_has_no_exposure_bias() -> None:
    """Nothing over nothing is no excess."""
    texts = nested([np.zeros(2)])

    assert exposure_curve(texts, texts, once(1)).excess_L.tolist() == [0, 0]


def test_other_sources_are_refused() -> None:
    """The message counts all three."""
    with pytest.raises(EvaluationError, match="got 1 and 2 sources and resamples of 2"):
        exposure_curve(nested([np.ones(1)]), nested([np.ones(1)] * 2), once(2))
