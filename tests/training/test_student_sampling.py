from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Greedy, Sampling
from understudy.generation.hf import HuggingFaceEngine
from understudy.models.text import decode
from understudy.pool import PseudoTargetPool
from understudy.pool.token_arrays import TokenArrays
from understudy.training.items import TrainItem
from understudy.training.student_sampling import StudentSampler, StudentSamples

Build = Callable[..., PreTrainedModel]
SOURCES = [[5, 6, 2], [7, 2], [8, 9, 10, 2]]
ITEMS = [TrainItem(2, "student", (0, 1)), TrainItem(0, "student", (0, 1))]


@pytest.fixture
def sampler(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> StudentSampler:
    """Samples at most five tokens from the live network."""
    return StudentSampler(
        TokenArrays.of(SOURCES), pa.chunked_array([["a", "b", "c"]]), tokenizer, "hf", Sampling(), max_tokens=5, seed=3,
        provenance={"seed": "3"}, folder=tmp_path / "text",
    )  # fmt: skip


def texts_of(samples: StudentSamples) -> list[list[int]]:
    """The texts of the items, in their order, as lists."""
    return [samples.texts[row].tolist() for item in samples.items for row in item.rows]


def test_samples_are_the_engines(sampler: StudentSampler, build: Build) -> None:
    """Two texts of each item's source, item by item: those of a direct call of the engine."""
    student = build()
    engine = HuggingFaceEngine(student, sampler.tokenizer)
    generated = engine.generate([SOURCES[2], SOURCES[0]], Sampling(), per_source=2, max_tokens=5, seed=3 + 4)
    expected = [list(text.token_ids) for texts in generated for text in texts]

    assert texts_of(sampler(student, ITEMS, 4)) == expected


def test_samples_are_generated_without_dropout(sampler: StudentSampler, build: Build, tmp_path: Path) -> None:
    """They are those of the network in eval mode; afterwards it is in training mode again."""
    student = build(dropout=0.5)
    expected = texts_of(sampler(student.eval(), ITEMS, 0))
    elsewhere = replace(sampler, folder=tmp_path / "elsewhere")

    assert texts_of(elsewhere(student.train(), ITEMS, 0)) == expected
    assert student.training


def test_samples_of_a_round_are_generated_once(sampler: StudentSampler, build: Build) -> None:
    """A resumed round uses the same samples, although the student has changed."""
    first = texts_of(sampler(build(), ITEMS, 0))

    assert texts_of(sampler(build(seed=9), ITEMS, 0)) == first


def test_each_round_has_its_own_seed(sampler: StudentSampler, build: Build) -> None:
    """The same student gives other samples in the next round, unless decoding is greedy."""
    student = build()
    greedy = replace(sampler, decoding=Greedy(), folder=sampler.folder / "greedy")
    one = [item._replace(rows=(0,)) for item in ITEMS]

    assert texts_of(sampler(student, ITEMS, 0)) != texts_of(sampler(student, ITEMS, 1))
    assert texts_of(greedy(student, one, 0)) == texts_of(greedy(student, one, 1))


def test_samples_are_stored_as_a_pool(sampler: StudentSampler, build: Build) -> None:
    """With input, round, sample number, generator and text."""
    texts = [texts_of(sampler(build(), ITEMS, number)) for number in range(2)]
    pool = list(PseudoTargetPool.open(sampler.folder))

    assert [(row.input_id, row.round, row.sample) for row in pool] == [
        (input_id, number, sample) for number in range(2) for input_id in ("c", "a") for sample in range(2)
    ]
    assert [list(row.token_ids) for row in pool] == texts[0] + texts[1]
    assert {row.generator for row in pool} == {"student"}
    assert [row.text for row in pool] == [decode(sampler.tokenizer, row.token_ids) for row in pool]


def test_recent_samples_are_reused(sampler: StudentSampler, build: Build) -> None:
    """For up to `max_age` rounds; an input without a recent sample gets a new one."""
    reusing = replace(sampler, max_age=1)
    first = texts_of(reusing(build(), ITEMS, 0))
    second = texts_of(reusing(build(seed=9), [*ITEMS, TrainItem(1, "student", (0, 1))], 1))
    third = texts_of(reusing(build(seed=9), ITEMS, 2))

    assert second[:4] == first
    assert len(second) == 6
    assert third != first
