from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.desk import Desk

from understudy.config.recipe import PseudoTargets
from understudy.pipeline.portions import portions_of
from understudy.pool.pool import PseudoTargetPool
from understudy.records import TaskData

BEAMS = {"kind": "k_beams", "beams": 4}


@pytest.fixture
def desk(tiny: dict[str, Any], tmp_path: Path) -> Desk:
    """A store for each test: what it finds is what the test had written."""
    return Desk(tiny, tmp_path)


def cut(data: TaskData, *, unlabeled: int) -> TaskData:
    """The task as it was when it had fewer unlabelled inputs: every other one first."""
    early = sorted(range(len(data.unlabeled)), key=lambda place: place % 2)[:unlabeled]
    return replace(data, unlabeled=tuple(data.unlabeled[place] for place in sorted(early)))


def test_a_pool_is_portions_of_one_three_and_four(desk: Desk) -> None:
    """Of labelled and of unlabelled inputs; all written, and of the last one as many texts taught as are asked."""
    texts = desk.texts(per_input=6)

    assert len(desk.portions()) == 2 * 3
    assert {len(own) for own in texts.values()} == {6}
    assert list(texts) == [example.id for example in (*desk.data.labeled, *desk.data.unlabeled)]


@pytest.mark.parametrize(
    ("asked", "portions"),
    [
        (1, [(0, 1)]),
        (2, [(0, 1), (1, 3)]),
        (4, [(0, 1), (1, 3)]),
        (5, [(0, 1), (1, 3), (4, 4)]),
        (40, [(0, 1), (1, 3), *((start, 4) for start in range(4, 40, 4))]),
    ],
)
def test_portions_hold_what_is_asked_and_less_than_one_more(asked: int, portions: list[tuple[int, int]]) -> None:
    """Samples; the beams of one search are one portion, and so is the one text of other decodings."""
    sampled = PseudoTargets.model_validate({"per_input": asked, "decoding": {"kind": "sampling"}})

    assert portions_of(sampled) == portions
    assert portions_of(PseudoTargets.model_validate({"per_input": 2, "decoding": BEAMS})) == [(0, 4)]
    assert portions_of(PseudoTargets()) == [(0, 1)]


@pytest.mark.parametrize(("decoding", "portions"), [({"kind": "sampling", "top_k": 2, "top_p": 1.0}, 3), (BEAMS, 1)])
def test_a_pool_that_grows_or_shrinks_writes_nothing_again(desk: Desk, decoding: dict[str, Any], portions: int) -> None:
    """Whatever number of texts is asked for, an input's first ones are the same, and each portion is written once."""
    most = 7 if portions > 1 else 4
    grown = {asked: desk.texts(per_input=asked, decoding=decoding) for asked in (3, 1, 2, most)}
    kept = {path: path.stat().st_mtime_ns for path in desk.portions()}

    assert len(kept) == 2 * portions
    for asked, texts in grown.items():
        assert texts == {name: own[:asked] for name, own in grown[most].items()}
    assert desk.texts(per_input=2, decoding=decoding, inputs=["unlabeled"]).items() < grown[2].items()
    assert {path: path.stat().st_mtime_ns for path in desk.portions()} == kept


def test_the_portions_of_an_input_are_drawn_apart(desk: Desk) -> None:
    """Else more texts would be the same texts; samples are numbered through, and copies counted over all."""
    pool = PseudoTargetPool.open(desk.pool({"kind": "all"}, per_input=8).folder)
    assert any(rows[0].text != rows[4].text for rows in map(pool.targets_of, pool.inputs))
    for rows in map(pool.targets_of, pool.inputs):
        texts = [row.text for row in rows]
        assert [row.sample for row in rows] == list(range(8))
        assert [row.copies for row in rows] == [texts.count(text) for text in texts]


def test_more_inputs_leave_the_texts_of_those_before(desk: Desk) -> None:
    """Only the new ones are written for, wherever they stand among the others; the pool is in the task's order."""
    before = desk.texts(cut(desk.data, unlabeled=15))
    there = desk.portions()
    made = desk.pool({"kind": "all"})
    after = desk.texts()
    new = [PseudoTargetPool.open(folder) for folder in desk.portions() - there]

    assert before.items() < after.items()
    assert list(after) == [example.id for example in (*desk.data.labeled, *desk.data.unlabeled)]
    assert {name for pool in new for name in pool.inputs} == after.keys() - before.keys()
    assert len(new) == 3
    assert desk.texts() == after
    assert desk.pool({"kind": "all"}).key == made.key
    assert desk.portions() == there | {pool.folder for pool in new}


def test_fewer_inputs_are_written_for_by_nobody(desk: Desk) -> None:
    """The texts of those that are left are taken, and no other."""
    whole = desk.texts()
    there = desk.portions()
    fewer = cut(desk.data, unlabeled=15)

    assert desk.texts(fewer) == {e.id: whole[e.id] for e in (*fewer.labeled, *fewer.unlabeled)}
    assert desk.portions() == there


def test_an_input_is_known_by_its_source(desk: Desk) -> None:
    """One that was labelled since, or has another id, keeps its texts; another source under a known id gets its own."""
    whole = desk.texts(inputs=["unlabeled"])
    first, second, *others = desk.data.unlabeled
    there = desk.portions()
    renamed = replace(first, id=second.id)
    other = replace(desk.data.labeled[0], id=first.id, targets=())
    texts = desk.texts(replace(desk.data, labeled=(renamed,), unlabeled=(other, *others)))
    written = [PseudoTargetPool.open(folder) for folder in desk.portions() - there]

    assert texts[second.id] == whole[first.id]
    assert {name for pool in written for name in pool.inputs} == {first.id}
    assert list(texts) == [second.id, first.id, *(example.id for example in others)]


def test_what_another_teacher_or_decoding_wrote_is_no_portion_of_this_pool(desk: Desk) -> None:
    """Each has its own line of portions."""
    few = cut(desk.data, unlabeled=15)
    desk.texts(few, per_input=1)
    one = len(desk.portions())
    desk.texts(few, per_input=1, decoding={"kind": "sampling", "top_k": 3, "top_p": 1.0})

    assert len(desk.portions()) == 2 * one

    desk.teacher = desk.store.stage("teacher", settings={"other": 1}, inputs={}, work=desk.save_teacher)
    desk.texts(per_input=1)

    assert len(desk.portions()) == 3 * one
