from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from understudy.config.read import check_recipe
from understudy.models.checkpoint import save_network
from understudy.pipeline.bench import Bench
from understudy.pipeline.data import make_data, read_data
from understudy.pipeline.networks import NETWORK, make_readers, make_tokenizer, starting_teacher
from understudy.pipeline.readers import Reader
from understudy.pipeline.writing import make_pool
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.selection import char_ngrams, chrf
from understudy.progress import Silence
from understudy.records import TaskData
from understudy.store import Finished, Store

LIMITS = {"max_target_tokens": 3}


class Desk:
    """A teacher that has learned nothing, and what it needs to write very short texts."""

    def __init__(self, tiny: dict[str, Any], folder: Path) -> None:
        self.tiny = {**tiny, "task": {**tiny["task"], **LIMITS}}
        self.store = Store(folder)
        bench = self.bench({"kind": "all"})
        stage = make_data(bench)
        self.data = read_data(stage)
        self.reader: Reader = make_readers(bench, make_tokenizer(bench, stage)).teacher

        def work(folder: Path) -> dict[str, object]:
            save_network(starting_teacher(bench, self.reader), self.reader.tokenizer, folder / NETWORK)
            return {}

        self.teacher = self.store.stage("teacher", settings={}, inputs={"data": stage}, work=work)

    def bench(self, keep: dict[str, Any], **asked: object) -> Bench:
        """A bench whose recipe keeps these texts; with two tokens to draw from, some texts repeat."""
        asked = {"per_input": 6, "decoding": {"kind": "sampling", "top_k": 2, "top_p": 1.0}, "keep": keep} | asked
        recipe = check_recipe({**self.tiny, "pseudo_targets": asked})
        return Bench(recipe, self.store, Silence(), "float32")

    def pool(self, keep: dict[str, Any], data: TaskData | None = None, **asked: object) -> Finished:
        """The pool that is taught."""
        return make_pool(self.bench(keep, **asked), data or self.data, self.reader, self.teacher, LIMITS)


@pytest.fixture(scope="module")
def desk(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """One store for all choices."""
    return Desk(tiny, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def whole(desk: Desk) -> Finished:
    """The pool of all texts."""
    return desk.pool({"kind": "all"})


def test_keeping_all_is_the_pool_as_it_was_written(whole: Finished) -> None:
    """The stage knows nothing of the choice, so every choice shares its key; its texts come in portions."""
    assert whole.manifest.stage == "pool"
    assert set(whole.manifest.inputs) == {"labeled_0", "labeled_4", "unlabeled_0", "unlabeled_4"}
    assert len(PseudoTargetPool.open(whole.folder)) == 6 * 64


def test_a_pool_that_grows_writes_nothing_again(desk: Desk, whole: Finished) -> None:
    """Four texts of each input and six share the first four; of two kinds of input each can be had alone."""
    fewer = desk.pool({"kind": "all"}, per_input=4)
    alone = desk.pool({"kind": "all"}, per_input=4, inputs=["unlabeled"])
    before, after = PseudoTargetPool.open(fewer.folder), PseudoTargetPool.open(whole.folder)

    assert fewer.manifest.inputs.items() < whole.manifest.inputs.items()
    assert alone.manifest.inputs.items() < fewer.manifest.inputs.items()
    assert before.inputs == after.inputs
    assert any(after.targets_of(name)[0].text != after.targets_of(name)[4].text for name in after.inputs)
    for name in after.inputs:
        texts = [row.text for row in after.targets_of(name)]
        assert [row.text for row in before.targets_of(name)] == texts[:4]
        assert [row.sample for row in after.targets_of(name)] == list(range(6))
        assert [row.copies for row in after.targets_of(name)] == [texts.count(text) for text in texts]


def test_a_task_without_unlabelled_inputs_has_a_pool(desk: Desk) -> None:
    """The texts of the labelled ones, though both kinds are asked for."""
    pool = desk.pool({"kind": "all"}, replace(desk.data, unlabeled=()), per_input=2)

    assert set(pool.manifest.inputs) == {"labeled_0"}
    assert len(PseudoTargetPool.open(pool.folder)) == 2 * len(desk.data.labeled)


@pytest.mark.parametrize("kind", ["mbr", "agreement", "most_probable", "distinct", "closest_to_gold"])
def test_a_choice_writes_no_text_again(desk: Desk, whole: Finished, kind: str) -> None:
    """Every choice reads the one pool there is, leaves no input without a text, and is found again."""
    written = set(desk.store.root.glob("texts-*"))
    kept = desk.pool({"kind": kind})
    pool = PseudoTargetPool.open(kept.folder)

    assert kept.manifest.inputs == {"pool": whole.key}
    assert set(desk.store.root.glob("texts-*")) == written
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
        golds = [char_ngrams(target) for target in example.targets]
        scores = {
            row.text: max(chrf(char_ngrams(row.text), gold) for gold in golds) for row in before.targets_of(example.id)
        }
        assert [row.text for row in pool.targets_of(example.id)] == [max(scores, key=lambda text: scores[text])]

    other = replace(desk.data, labeled=tuple(replace(example, targets=("x",)) for example in desk.data.labeled))
    assert desk.pool({"kind": "closest_to_gold"}, other).key != kept.key
    assert desk.pool({"kind": "mbr"}, other).key == desk.pool({"kind": "mbr"}).key
