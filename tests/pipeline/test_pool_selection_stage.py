"""The stage that selects pseudo-targets reads the one pool there is and generates nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from sacrebleu import sentence_chrf
from tests.pipeline.stage_helpers import SmallTask

from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.pool_selection import PoolSelectionStage
from understudy.pipeline.stages.pseudo_targets import PseudoTargetsStage
from understudy.pool.pool import PseudoTargetPool


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> SmallTask:
    """One store for all selections."""
    return SmallTask.write(tmp_path_factory.mktemp("selection"))


@pytest.fixture(scope="module")
def whole(task: SmallTask) -> PseudoTargetPool:
    """The pool of all texts."""
    return task.pool()


def selection(task: SmallTask, kind: str, **settings: Any) -> PoolSelectionStage:  # noqa: ANN401 - of the selection
    """The stage of a selection."""
    stage = task.teacher(pseudo_targets={"select": {"kind": kind, **settings}}).targets()
    assert isinstance(stage, PoolSelectionStage)
    return stage


def test_selecting_all_is_the_pool_itself(task: SmallTask, whole: PseudoTargetPool) -> None:
    """No stage comes between the pool and what uses it."""
    stage = task.teacher(pseudo_targets={"select": {"kind": "all"}}).targets()

    assert isinstance(stage, PseudoTargetsStage)
    assert task.context.folder(stage) == whole.folder


@pytest.mark.parametrize("kind", ["mbr", "agreement", "most_probable", "distinct", "closest_to_gold"])
def test_a_selection_generates_no_text(task: SmallTask, whole: PseudoTargetPool, kind: str) -> None:
    """It reads the pool that all selections share, and leaves no input without a text."""
    generated = task.shards()
    stage = selection(task, kind)
    pool = PseudoTargetPool.open(task.made(stage))

    assert task.context.folder(stage.pool) == whole.folder
    assert task.shards() == generated
    assert pool.inputs == whole.inputs


def test_distinct_texts_count_their_copies(task: SmallTask, whole: PseudoTargetPool) -> None:
    """No text occurs twice, the copies add up to all that was generated, and samples are renumbered."""
    stage = selection(task, "distinct")
    pool = PseudoTargetPool.open(task.made(stage))
    facts = task.context.facts(stage)

    assert sum(row.copies for row in pool) == len(whole) == facts.generated
    assert facts.kept == facts.distinct == len(pool) < len(whole)
    assert pool.statistics()["duplicates"] == 0
    for name in pool.inputs:
        assert [row.sample for row in pool.targets_of(name)] == list(range(len(pool.targets_of(name))))
        assert {row.text for row in pool.targets_of(name)} == {row.text for row in whole.targets_of(name)}


def test_the_provenance_names_the_selection(task: SmallTask, whole: PseudoTargetPool) -> None:
    """It is that of the texts, with the selection added."""
    pool = PseudoTargetPool.open(task.made(selection(task, "agreement", n=2)))

    assert pool.provenance == {**whole.provenance, "select": '{"kind":"agreement","n":2}'}
    assert max(pool.per_input) == 2


def test_labeled_inputs_keep_the_text_closest_to_gold(task: SmallTask, whole: PseudoTargetPool) -> None:
    """By sacrebleu's chrF to the nearest of their targets."""
    stage = selection(task, "closest_to_gold")
    pool = PseudoTargetPool.open(task.made(stage))
    labeled = load_split(task.context.folder(stage.pool.examples), "labeled")

    assert labeled
    for example in labeled:
        scores = {
            row.text: max(sentence_chrf(row.text, [gold]).score for gold in example.targets)
            for row in whole.targets_of(example.id)
        }
        assert [row.text for row in pool.targets_of(example.id)] == [max(scores, key=lambda text: scores[text])]


def test_only_a_selection_that_reads_gold_depends_on_it(tmp_path: Path) -> None:
    """With other targets `closest_to_gold` is another stage; `mbr` is the same one."""
    task = SmallTask.write(tmp_path)
    before = [selection(task, kind) for kind in ("closest_to_gold", "mbr")]
    path = tmp_path / "labeled.jsonl"
    rows = [{**json.loads(line), "target": "x"} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    after = [selection(task, kind) for kind in ("closest_to_gold", "mbr")]

    assert before[0].gold is not None
    assert after[0].gold is not None
    assert before[0].gold.digest != after[0].gold.digest
    assert before[1].gold is after[1].gold is None
    shards = [{shard.key for shard in stage.pool.shards(task.context)} for stage in (before[1], after[1])]
    assert shards[0] == shards[1]
