"""A teacher that has learned nothing, and what it needs to write."""

from pathlib import Path
from typing import Any

from understudy.config.read import check_recipe
from understudy.models.checkpoint import save_network
from understudy.pipeline.bench import Bench
from understudy.pipeline.data import make_data, read_data
from understudy.pipeline.networks import NETWORK, make_readers, make_tokenizer, starting_teacher
from understudy.pipeline.readers import Reader
from understudy.pipeline.writing import make_pool
from understudy.pool.pool import PseudoTargetPool
from understudy.progress import NoProgress
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

        self.teacher = self.store.stage("teacher", settings={}, inputs={"data": stage}, work=self.save_teacher)

    def save_teacher(self, folder: Path) -> dict[str, object]:
        """Fills the stage of the teacher."""
        save_network(
            starting_teacher(self.bench({"kind": "all"}), self.reader), self.reader.tokenizer, folder / NETWORK
        )
        return {}

    def bench(self, keep: dict[str, Any], **asked: object) -> Bench:
        """A bench whose recipe keeps these texts; with two tokens to draw from, some texts repeat."""
        asked = {"per_input": 6, "decoding": {"kind": "sampling", "top_k": 2, "top_p": 1.0}, "select": keep} | asked
        recipe = check_recipe({**self.tiny, "pseudo_targets": asked})
        return Bench(recipe, self.store, NoProgress(), "float32")

    def pool(self, keep: dict[str, Any], data: TaskData | None = None, **asked: object) -> Finished:
        """The pool that is taught."""
        return make_pool(self.bench(keep, **asked), data or self.data, self.reader, self.teacher)

    def texts(self, data: TaskData | None = None, **asked: object) -> dict[str, list[str]]:
        """The texts of each input of a pool that keeps all, in its order."""
        pool = PseudoTargetPool.open(self.pool({"kind": "all"}, data, **asked).folder)
        return {name: [row.text for row in pool.targets_of(name)] for name in pool.inputs}

    def portions(self) -> set[Path]:
        """What the teacher has written."""
        return set(self.store.root.glob("texts-*"))
