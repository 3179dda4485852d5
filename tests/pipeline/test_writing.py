from dataclasses import replace
from typing import Any

import pytest
from sacrebleu import sentence_chrf
from tests.pipeline.desk import Desk

from understudy.pool.pool import PseudoTargetPool
from understudy.store import Finished


@pytest.fixture(scope="module")
def desk(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """One store for all choices."""
    return Desk(tiny, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def whole(desk: Desk) -> Finished:
    """The pool of all texts."""
    return desk.pool({"kind": "all"})


def test_keeping_all_is_the_pool_as_it_was_written(whole: Finished) -> None:
    """The stage knows nothing of the choice, so every choice shares its key."""
    assert whole.manifest.stage == "pool"
    assert len(PseudoTargetPool.open(whole.folder)) == 6 * 64


def test_a_task_without_unlabelled_inputs_has_a_pool(desk: Desk) -> None:
    """The texts of the labelled ones, though both kinds are asked for."""
    pool = desk.pool({"kind": "all"}, replace(desk.data, unlabeled=()), per_input=2)

    assert len(PseudoTargetPool.open(pool.folder)) == 2 * len(desk.data.labeled)


@pytest.mark.parametrize("kind", ["mbr", "agreement", "most_probable", "distinct", "closest_to_gold"])
def test_a_choice_writes_no_text_again(desk: Desk, whole: Finished, kind: str) -> None:
    """Every choice reads the one pool there is, leaves no input without a text, and is found again."""
    written = desk.portions()
    kept = desk.pool({"kind": kind})
    pool = PseudoTargetPool.open(kept.folder)

    assert kept.manifest.inputs == {"pool": whole.key}
    assert desk.portions() == written
    assert pool.inputs == PseudoTargetPool.open(whole.folder).inputs
    assert desk.pool({"kind": kind}).reused


def test_distinct_texts_count_their_copies(desk: Desk, whole: Finished) -> None:
    """No text is there twice, the copies add up to all that was written, and samples are counted anew."""
    kept = desk.pool({"kind": "distinct"})
    pool, before = PseudoTargetPool.open(kept.folder), PseudoTargetPool.open(whole.folder)
    facts = kept.manifest.facts

    assert sum(row.copies for row in pool) == len(before) == facts["written"]
    assert facts["kept"] == facts["distinct"] == len(pool) < len(before)
    assert facts["statistics"]["duplicates"] == 0  # type: ignore[index]
    for name in pool.inputs:
        assert [row.sample for row in pool.targets_of(name)] == list(range(len(pool.targets_of(name))))
        assert {row.text for row in pool.targets_of(name)} == {row.text for row in before.targets_of(name)}


def test_a_kept_pool_says_what_was_kept(desk: Desk, whole: Finished) -> None:
    """Its provenance is that of the texts, and the choice."""
    kept = PseudoTargetPool.open(desk.pool({"kind": "agreement", "n": 2}).folder)

    before = PseudoTargetPool.open(whole.folder).provenance
    assert kept.provenance == {**before, "keep": '{"kind":"agreement","n":2}'}
    assert max(kept.per_input) == 2


def test_gold_is_what_closest_to_gold_looks_at(desk: Desk, whole: Finished) -> None:
    """Labelled inputs keep the text nearest to their own targets; another gold is another stage."""
    kept = desk.pool({"kind": "closest_to_gold"})
    pool, before = PseudoTargetPool.open(kept.folder), PseudoTargetPool.open(whole.folder)
    for example in desk.data.labeled:
        scores = {
            row.text: max(sentence_chrf(row.text, [gold]).score for gold in example.targets)
            for row in before.targets_of(example.id)
        }
        assert [row.text for row in pool.targets_of(example.id)] == [max(scores, key=lambda text: scores[text])]

    other = replace(desk.data, labeled=tuple(replace(example, targets=("x",)) for example in desk.data.labeled))
    assert desk.pool({"kind": "closest_to_gold"}, other).key != kept.key
    assert desk.pool({"kind": "mbr"}, other).key == desk.pool({"kind": "mbr"}).key
