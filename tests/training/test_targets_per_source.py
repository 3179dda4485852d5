"""How `targets_per_source: auto` is resolved."""

import numpy as np
import pytest
import torch

from understudy.pool.token_arrays import Targets, TokenArrays
from understudy.training.mixture import Mixture
from understudy.training.targets_per_source import described, reading_once_pays, with_targets_per_source

INPUTS = 10


def mixture_of(source: int, target: int, *, texts: int = 8, student: float = 0.0, gold: int = 1) -> Mixture:
    """Ten sources of one length, each with so many texts, and the first one with gold targets."""
    return Mixture(
        sources=TokenArrays.of([[5] * source] * INPUTS),
        targets={
            "gold": Targets.of([[[6] * target] * gold, *[[]] * (INPUTS - 1)]),
            "teacher": Targets.of([[[7] * 3] * texts] * INPUTS),
        },
        shares={"gold": 0.1, "teacher": 1.0, "student": student},
        inputs=np.arange(INPUTS),
    )


@pytest.mark.parametrize(("source", "target", "number"), [(40, 20, 4), (39, 20, 2), (10, 20, 2), (9, 20, 1)])
def test_the_number_follows_the_lengths(source: int, target: int, number: int) -> None:
    """Four where sources are twice as long as gold targets, two where they are half as long, else one."""
    assert with_targets_per_source(mixture_of(source, target), "auto", epochs=9).targets_per_source == number


@pytest.mark.parametrize(
    ("changes", "limits", "number"),
    [
        ({"texts": 3}, {}, 3),
        ({"texts": 1}, {}, 1),
        ({"student": 1.0}, {}, 4),
        ({"student": 1.0}, {"student_samples": 1}, 1),
        ({}, {"student_samples": 1}, 4),
        ({}, {"epochs": 2}, 2),
    ],
)
def test_the_number_is_at_most_what_there_is(changes: dict[str, float], limits: dict[str, int], number: int) -> None:
    """Texts of an input, student samples where the mixture has a share of them, epochs."""
    mixture = mixture_of(90, 10, **changes)  # type: ignore[arg-type]  # integers but for the share

    assert with_targets_per_source(mixture, "auto", **{"epochs": 9, **limits}).targets_per_source == number


def test_lengths_are_those_of_the_teachers_texts_without_gold() -> None:
    """Texts of three tokens: sources of six are twice as long."""
    assert with_targets_per_source(mixture_of(6, 20, gold=0), "auto", epochs=9).targets_per_source == 4
    assert with_targets_per_source(mixture_of(5, 20, gold=0), "auto", epochs=9).targets_per_source == 2


def test_gold_alone_is_limited_by_the_targets_of_a_source() -> None:
    """There the lengths are those of the sources with gold."""
    mixture = mixture_of(60, 20, gold=3)
    mixture = Mixture(mixture.sources, mixture.targets, {"gold": 1.0}, mixture.inputs)

    assert with_targets_per_source(mixture, "auto", epochs=9).targets_per_source == 3


def test_a_number_stays_what_the_recipe_says() -> None:
    """Nothing is resolved, and nothing is described."""
    mixture = with_targets_per_source(mixture_of(90, 10, texts=1), 7, epochs=1)

    assert (mixture.targets_per_source, mixture.auto, described(mixture)) == (7, None, None)


def test_the_description_has_the_lengths_and_what_limits_the_number() -> None:
    """As logs, `check` and the report show it."""
    found = described(with_targets_per_source(mixture_of(120, 31), "auto", epochs=9))
    limited = described(with_targets_per_source(mixture_of(120, 31, texts=2), "auto", epochs=9))

    assert found == "targets per source: 4 (auto: sources 120 tokens, targets 31)"
    assert limited == "targets per source: 2 (auto: sources 120 tokens, targets 31, texts per input 2)"


@pytest.mark.parametrize(("source", "k", "pays"), [(32, 1, False), (8, 4, False), (16, 4, True), (32, 2, True)])
def test_a_prompt_is_read_once_where_it_saves_a_fifth_of_the_tokens(source: int, k: int, pays: bool) -> None:
    """Eight targets of 32 tokens, with so many of each source."""
    inputs = {"source_ids_SL": torch.zeros(8 // k, source), "target_ids_BT": torch.zeros(8, 32)}

    assert reading_once_pays(inputs) == pays
