from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.desk import Desk
from understudy.pipeline.portions import portions_of

from understudy.config.pseudo_targets import PseudoTargets
from understudy.config.read import merge
from understudy.pipeline import portions
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
    ("asked", "expected"),
    [
        (1, [(0, 1)]),
        (2, [(0, 1), (1, 3)]),
        (4, [(0, 1), (1, 3)]),
        (5, [(0, 1), (1, 3), (4, 4)]),
        (40, [(0, 1), (1, 3), *((start, 4) for start in range(4, 40, 4))]),
    ],
)
def test_portions_hold_what_is_asked_and_less_than_one_more(asked: int, expected: list[tuple[int, int]]) -> None:
    """Samples; the beams of one search are one portion, and so is the one text of other decodings."""
    sampled = PseudoTargets.model_validate({"per_input": asked, "decoding": {"kind": "sampling"}})

    assert portions_of(sampled) == expected
    assert portions_of(PseudoTargets.model_validate({"per_input": 2, "decoding": BEAMS})) == [(0, 4)]
    assert portions_of(PseudoTargets()) == [(0, 1)]


@pytest.mark.parametrize(("decoding", "each"), [({"kind": "sampling", "top_k": 2, "top_p": 1.0}, 3), (BEAMS, 1)])
def test_a_pool_that_grows_or_shrinks_writes_nothing_again(desk: Desk, decoding: dict[str, Any], each: int) -> None:
    """Whatever number of texts is asked for, an input's first ones are the same, and each portion is written once."""
    most = 7 if each > 1 else 4
    grown = {asked: desk.texts(per_input=asked, decoding=decoding) for asked in (3, 1, 2, most)}
    kept = {path: path.stat().st_mtime_ns for path in desk.portions()}

    assert len(kept) == 2 * each
    for asked, texts in grown.items():
        assert texts == {name: own[:asked] for name, own in grown[most].items()}
    assert desk.texts(per_input=2, decoding=decoding, inputs=["unlabeled"]).items() < grown[2].items()
    assert {path: path.stat().st_mtime_ns for path in desk.portions()} == kept


def test_the_portions_of_an_input_are_drawn_apart(desk: Desk) -> None:
    """Else more texts would be the same texts; samples are numbered through, and copies counted over all."""
    pool = PseudoTargetPool.open(desk.pool({"kind": "all"}, per_input=12).folder)
    texts = {name: [row.text for row in pool.targets_of(name)] for name in pool.inputs}

    assert any(own[4:8] != own[8:12] for own in texts.values())
    for name, own in texts.items():
        rows = pool.targets_of(name)
        assert [row.sample for row in rows] == list(range(12))
        assert [row.copies for row in rows] == [own.count(text) for text in own]


def test_the_order_of_the_inputs_is_part_of_a_portion(desk: Desk, tiny: dict[str, Any], tmp_path: Path) -> None:
    """It decides which random numbers an input gets, and which shard its texts stand in."""
    other = Desk(tiny, tmp_path / "other")
    desk.texts(inputs=["unlabeled"])
    other.texts(replace(other.data, unlabeled=other.data.unlabeled[::-1]), inputs=["unlabeled"])

    assert len(desk.portions()) == len(other.portions()) == 3
    assert not {path.name for path in desk.portions()} & {path.name for path in other.portions()}


def test_more_inputs_leave_the_texts_of_those_before(desk: Desk) -> None:
    """Only the new ones are written for, wherever they stand among the others; the pool is in the task's order."""
    before = desk.texts(cut(desk.data, unlabeled=15))
    there = desk.portions()
    made = desk.pool({"kind": "all"})
    after = desk.texts()
    new = [PseudoTargetPool.open(folder) for folder in desk.portions() - there]

    assert before.items() < after.items()
    assert list(after) == [example.id for example in (*desk.data.labeled, *desk.data.unlabeled)]
    assert [len(pool.inputs) for pool in new] == [len(after) - len(before)] * 3
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
    assert [len(pool.inputs) for pool in written] == [1] * 3
    assert list(texts) == [second.id, first.id, *(example.id for example in others)]


def test_a_killed_portion_goes_on_under_other_ids(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that are made of line numbers shift with every line that comes in above; the shards that are there do not."""
    asked: dict[str, Any] = {"inputs": ["unlabeled"], "shard_inputs": 24}
    with monkeypatch.context() as patched:
        patched.setattr(portions, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            desk.texts(**asked)
    (left,) = desk.store.root.glob("texts-*.partial")
    (left / "pool-00001.parquet").unlink()
    ids = [example.id for example in desk.data.unlabeled]
    shifted = [replace(one, id=name) for one, name in zip(desk.data.unlabeled, (*ids[1:], "new"), strict=True)]
    texts = desk.texts(replace(desk.data, unlabeled=tuple(shifted)), **asked)
    straight = desk.texts(**asked)

    assert list(texts) == [example.id for example in shifted]
    assert list(texts.values()) == list(straight.values())
    assert not left.exists()


def killed(*_: object) -> None:
    """What a process that is killed here does."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 7},
        {"engine": "hf"},
        {"task": {"max_target_tokens": 4}},
        {"task": {"prompt": "Say: {source}"}},
        {"pseudo_targets": {"decoding": {"kind": "sampling", "top_k": 3, "top_p": 1.0}}},
    ],
)
def test_what_was_written_otherwise_is_no_portion_of_this_pool(desk: Desk, change: dict[str, Any]) -> None:
    """With another seed, engine, limit, prompt or decoding everything is written anew."""
    desk.texts(cut(desk.data, unlabeled=15), per_input=1)
    before = desk.portions()
    desk.tiny = merge(desk.tiny, {key: value for key, value in change.items() if key != "pseudo_targets"})
    desk.texts(per_input=1, **change.get("pseudo_targets", {}))
    new = [PseudoTargetPool.open(folder) for folder in desk.portions() - before]

    assert sum(len(pool.inputs) for pool in new) == len(desk.data.labeled) + len(desk.data.unlabeled)


def test_what_another_teacher_wrote_is_no_portion_of_this_pool(desk: Desk) -> None:
    """Each teacher has its own portions."""
    desk.texts(per_input=1)
    desk.teacher = desk.store.stage("teacher", settings={"other": 1}, inputs={}, work=desk.save_teacher)
    desk.texts(per_input=1)

    assert len(desk.portions()) == 2 * 2
