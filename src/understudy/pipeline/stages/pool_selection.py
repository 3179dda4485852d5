"""The stage that selects which pseudo-targets of each input are learned; another selection generates nothing again."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from understudy.config.pool_selection import Selection
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.pseudo_targets import PseudoTargetsStage
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.pool_files import POOL_FILE, with_column, write_pool_file
from understudy.pool.selection import SELECTIONS, Candidates
from understudy.pool.token_arrays import Ints
from understudy.progress import ProgressCallback
from understudy.store import Content, Stage, WorkerContext


@dataclass(frozen=True)
class SelectionFacts:
    """How many texts were selected."""

    generated: int
    distinct: int
    kept: int


@dataclass(frozen=True)
class PoolSelectionStage(Stage[SelectionFacts]):
    """The selected texts of a pool."""

    pool: PseudoTargetsStage
    select: Selection
    gold: Content | None = None
    """The labeled examples, where the selection compares with gold."""
    name: ClassVar[str] = "pool_selection"

    def run(self, folder: Path, context: WorkerContext) -> SelectionFacts:
        """Selects the texts, input by input; their samples are numbered from 0 again."""
        labeled = load_split(context.path(self.gold), "labeled") if self.gold else ()
        gold = {example.id: example.targets for example in labeled}
        pool = PseudoTargetPool.open(context.folder(self.pool))
        with context.progress.track("select pseudo-targets", len(pool.inputs), "input") as progress:
            rows, samples = self._selected(pool, gold, progress)
        table = with_column(pool.table.take(rows), "sample", samples)
        write_pool_file(folder / POOL_FILE, table, {**pool.provenance, "select": self.select.model_dump_json()})
        return SelectionFacts(generated=len(pool), distinct=pool.distinct_texts, kept=len(rows))

    def _selected(
        self, pool: PseudoTargetPool, gold: Mapping[str, tuple[str, ...]], progress: ProgressCallback
    ) -> tuple[Ints, Ints]:
        """The selected rows of the pool, and the new number of each among those of its input."""
        select, settings = SELECTIONS[self.select.kind], self.select.model_dump(exclude={"kind"})
        rows, samples = array("q"), array("q")
        for name in pool.inputs:
            places = select(Candidates(pool.targets_of(name), gold.get(name, ())), **settings)
            rows.extend(pool.rows_of(name)[places].tolist())
            samples.extend(range(len(places)))
            progress(1)
        return np.frombuffer(rows, np.int64), np.frombuffer(samples, np.int64)
