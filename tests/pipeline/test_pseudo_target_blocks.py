"""Pseudo-targets are generated in blocks of inputs and ranges of texts, each found again by its own key."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.stage_helpers import SHARD_INPUTS, SmallTask, save_teacher

from understudy.config.decoding import Beam, DiverseBeam, KBeams, PoolDecoding, Sampling
from understudy.errors import PoolError, StoreError
from understudy.executors.local import Local
from understudy.executors.processes import Processes
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.examples import block_in_order
from understudy.pipeline.stages.pseudo_targets import text_ranges
from understudy.pool.pool import PseudoTargetPool
from understudy.store import Store

LABELED, UNLABELED = 4, 40
BLOCKS = 1 + UNLABELED // SHARD_INPUTS
"""One of labeled inputs, which is not full, and those of unlabeled inputs."""
BEAMS = {"kind": "k_beams", "beams": 4}


@pytest.fixture
def task(tmp_path: Path) -> SmallTask:
    """A task with a store of its own: what it holds is what the test generated."""
    return SmallTask.write(tmp_path)


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        (1, [(0, 1)]),
        (2, [(0, 1), (1, 3)]),
        (4, [(0, 1), (1, 3)]),
        (5, [(0, 1), (1, 3), (4, 4)]),
        (40, [(0, 1), (1, 3), *((start, 4) for start in range(4, 40, 4))]),
    ],
)
def test_samples_come_in_ranges_of_one_three_and_four(requested: int, expected: list[tuple[int, int]]) -> None:
    """So more texts add ranges, and fewer than four texts are generated in excess."""
    assert text_ranges(Sampling(), requested) == expected


@pytest.mark.parametrize(("decoding", "expected"), [(KBeams(beams=4), 4), (DiverseBeam(groups=2), 2), (Beam(), 1)])
def test_one_search_finds_all_its_texts_at_once(decoding: PoolDecoding, expected: int) -> None:
    """Other decodings than sampling have one range, however many of its texts are requested."""
    assert text_ranges(decoding, 1) == text_ranges(decoding, expected) == [(0, expected)]


def test_the_pool_is_an_index_of_its_shards(task: SmallTask) -> None:
    """It has the requested texts of each input of the task, under the task's ids and in its order."""
    folder = task.made(task.pool_stage())
    pool = PseudoTargetPool.open(folder)
    place = task.context.folder(task.teacher().task.examples)
    ids = [example.id for kind in ("labeled", "unlabeled") for example in load_split(place, kind)]
    shards = json.loads((folder / "manifest.json").read_text())["shards"]

    assert list(pool.inputs) == ids
    assert len(ids) == LABELED + UNLABELED
    assert set(pool.per_input) == {6}
    assert not list(folder.glob("*.parquet"))
    assert set(shards) == set(task.shards())
    assert len(shards) == 3 * BLOCKS


@pytest.mark.parametrize(
    ("decoding", "ranges", "most"), [({"kind": "sampling", "top_k": 2, "top_p": 1.0}, 3, 7), (BEAMS, 1, 4)]
)
def test_more_texts_only_add_shards(task: SmallTask, decoding: dict[str, Any], ranges: int, most: int) -> None:
    """Text k of an input is the same however many are requested, and every shard is written once."""
    grown, written = {}, [task.shards()]
    for requested in (1, 2, most):
        grown[requested] = task.texts(pseudo_targets={"per_input": requested, "decoding": decoding})
        written.append(task.shards())

    for before, after in pairwise(written):
        assert before.items() <= after.items()
    assert len(written[-1]) == ranges * BLOCKS
    for requested, texts in grown.items():
        assert texts == {name: own[:requested] for name, own in grown[most].items()}

    fewer = task.texts(pseudo_targets={"per_input": 2, "decoding": decoding, "inputs": ["unlabeled"]})
    assert fewer.items() < grown[2].items()
    assert task.shards() == written[-1]


def test_more_inputs_only_add_shards(task: SmallTask) -> None:
    """The inputs before keep their texts; new blocks are made for the new inputs alone."""
    before = task.texts(task={"unlabeled_inputs": 3 * SHARD_INPUTS})
    written = task.shards()
    after = task.texts(task={"unlabeled_inputs": UNLABELED})
    new = task.shards().keys() - written.keys()

    assert before.items() < after.items()
    assert written.items() < task.shards().items()
    assert len(new) == 3 * (UNLABELED // SHARD_INPUTS - 3)


def test_inputs_appended_to_the_file_only_add_shards(task: SmallTask) -> None:
    """Where all inputs are used they keep the order of the file."""
    path = task.folder / "unlabeled.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: 3 * SHARD_INPUTS]))
    before = task.texts(pseudo_targets={"per_input": 1})
    written = task.shards()
    path.write_text("".join(lines))
    after = task.texts(pseudo_targets={"per_input": 1})

    assert list(before.values()) == list(after.values())[: len(before)]
    assert written.items() < task.shards().items()
    assert len(task.shards()) - len(written) == UNLABELED // SHARD_INPUTS - 3


def test_fewer_inputs_generate_nothing(task: SmallTask) -> None:
    """The texts of those that are left are taken, and no other."""
    whole = task.texts(task={"unlabeled_inputs": UNLABELED})
    written = task.shards()
    fewer = task.texts(task={"unlabeled_inputs": 3 * SHARD_INPUTS})

    assert fewer == {name: whole[name] for name in fewer}
    assert len(fewer) == LABELED + 3 * SHARD_INPUTS
    assert task.shards() == written


def test_an_incomplete_block_is_generated_again_when_it_grows(task: SmallTask) -> None:
    """A block is identified by all its inputs, so only the last one, which was not full, is made anew."""
    before = task.texts(task={"unlabeled_inputs": 2 * SHARD_INPUTS + 1}, pseudo_targets={"per_input": 1})
    written = task.shards()
    after = task.texts(task={"unlabeled_inputs": 3 * SHARD_INPUTS}, pseudo_targets={"per_input": 1})

    assert len(task.shards().keys() - written.keys()) == 1
    assert written.items() < task.shards().items()
    assert before.keys() < after.keys()
    assert sum(before[name] == after[name] for name in before) >= LABELED + 2 * SHARD_INPUTS


def test_the_drawn_order_is_a_prefix_of_that_of_more_inputs(task: SmallTask) -> None:
    """Blocks follow this order, so the first ones are the same."""
    orders = []
    for count in (7, 20, UNLABELED):
        teacher = task.teacher(task={"unlabeled_inputs": count})
        place = task.context.folder(teacher.examples)
        orders.append([example.source for example in block_in_order(place, "unlabeled", 0, count)])

    assert [len(order) for order in orders] == [7, 20, UNLABELED]
    assert orders[2][:20] == orders[1]
    assert orders[1][:7] == orders[0]
    assert orders[2] != sorted(orders[2])


def test_a_deleted_shard_alone_is_generated_again(task: SmallTask) -> None:
    """The pool is finished only while its shards are there; the new one has the same texts."""
    stage = task.pool_stage()
    before = task.texts()
    written = task.shards()
    lost = min(written)
    shutil.rmtree(task.context.store.root / lost)

    assert not task.context.store.finished(stage)
    with pytest.raises(PoolError, match=f"{lost}.*deleted.*run the recipe again"):
        PseudoTargetPool.open(task.context.store.folder(stage))
    with pytest.raises(StoreError, match=f"{lost}.*deleted.*run the recipe again"):
        task.context.folder(stage)
    assert task.texts() == before
    assert {name for name, time in task.shards().items() if written[name] != time} == {lost}


def test_the_ranges_of_an_input_are_sampled_independently(task: SmallTask) -> None:
    """Otherwise more texts would be the same texts; samples are numbered through, and copies counted over all."""
    pool = task.pool(pseudo_targets={"per_input": 12})
    texts = {name: [row.text for row in pool.targets_of(name)] for name in pool.inputs}

    assert any(own[4:8] != own[8:12] for own in texts.values())
    for name, own in texts.items():
        rows = pool.targets_of(name)
        assert [row.sample for row in rows] == list(range(12))
        assert [row.copies for row in rows] == [own.count(text) for text in own]


def test_an_input_is_identified_by_its_source(task: SmallTask) -> None:
    """Ids made of line numbers shift with every line that is inserted above; the shards are found all the same."""
    whole = list(task.texts(pseudo_targets={"per_input": 1}).items())
    written = task.shards()
    path = task.folder / "unlabeled.jsonl"
    rows = [{**json.loads(line), "id": f"other-{number}"} for number, line in enumerate(path.read_text().splitlines())]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    renamed = list(task.texts(pseudo_targets={"per_input": 1}).items())

    assert task.shards() == written
    assert [own for _, own in renamed] == [own for _, own in whole]
    assert [name for name, _ in renamed[LABELED:]] == [row["id"] for row in rows]


def test_the_order_of_the_inputs_is_part_of_a_block(task: SmallTask) -> None:
    """It decides which random numbers an input gets, so the same inputs in another order share no shard."""
    unlabeled = {"pseudo_targets": {"inputs": ["unlabeled"]}}
    keys = [{shard.key for shard in task.pool_stage(**unlabeled).shards(task.context)}]
    path = task.folder / "unlabeled.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    keys.append({shard.key for shard in task.pool_stage(**unlabeled).shards(task.context)})

    assert len(keys[0]) == len(keys[1]) == 3 * (BLOCKS - 1)
    assert not keys[0] & keys[1]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 7},
        {"engine": "hf"},
        {"task": {"max_target_tokens": 9}},
        {"task": {"prompt": "Color of: {source}"}},
        {"pseudo_targets": {"decoding": {"kind": "sampling", "top_k": 3, "top_p": 1.0}}},
    ],
    ids=["seed", "engine", "limit", "prompt", "decoding"],
)
def test_texts_generated_with_other_settings_are_not_reused(task: SmallTask, change: dict[str, Any]) -> None:
    """With another seed, engine, limit, prompt or decoding no shard is shared."""
    stages = [task.pool_stage(), task.pool_stage(**change)]
    keys = [{shard.key for shard in stage.shards(task.context)} for stage in stages]

    assert len(keys[0]) == len(keys[1])
    assert not keys[0] & keys[1]


def test_texts_of_another_teacher_are_not_reused(task: SmallTask, tmp_path: Path) -> None:
    """Each teacher has its own shards."""
    stages = [task.pool_stage()]
    stages.append(task.pool_stage(teacher={"model": save_teacher(tmp_path / "other", seed=2)}))
    keys = [{shard.key for shard in stage.shards(task.context)} for stage in stages]

    assert not keys[0] & keys[1]


def test_worker_processes_write_the_same_bytes(task: SmallTask, tmp_path: Path) -> None:
    """The shards of a pool are made side by side, and each is what one process would have written."""
    stage = task.pool_stage(pseudo_targets={"per_input": 2, "shard_inputs": 20})
    task.made(stage)
    other = replace(task.context, store=Store(tmp_path / "other"))
    for earlier in (stage.examples.data, stage.examples, stage.teacher.network):
        other.store.get(earlier, Local(), other)
    outcomes = other.store.get_all([stage], Processes(2), other)

    assert set(outcomes.values()) == {"made"}
    for shard in stage.shards(other):
        ours, theirs = (context.folder(shard) / "pool-00000.parquet" for context in (task.context, other))
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_task_without_unlabeled_inputs_has_a_pool(task: SmallTask) -> None:
    """The texts of the labeled inputs, though both kinds are requested."""
    del task.plain["task"]["files"]["unlabeled"]

    assert len(task.pool(pseudo_targets={"per_input": 2})) == 2 * LABELED
