"""The stage that selects which pseudo-targets of each input are learned; another selection generates nothing again."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from understudy.config.pool_selection import Selection
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.pseudo_targets import PseudoTargetsStage
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.pool_files import POOL_FILE, write_pool_file
from understudy.pool.selection import SELECTIONS, Candidates
from understudy.progress import ProgressCallback
from understudy.records import PseudoTarget
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
            rows = self._selected(pool, gold, progress)
        write_pool_file(folder / POOL_FILE, rows, {**pool.provenance, "select": self.select.model_dump_json()})
        return SelectionFacts(
            generated=len(pool),
            distinct=len(set(zip(pool.input_ids, pool.texts, strict=True))),
            kept=len(rows),
        )

    def _selected(
        self, pool: PseudoTargetPool, gold: Mapping[str, tuple[str, ...]], progress: ProgressCallback
    ) -> list[PseudoTarget]:
        select, settings = SELECTIONS[self.select.kind], self.select.model_dump(exclude={"kind"})
        rows: list[PseudoTarget] = []
        for name in pool.inputs:
            targets = pool.targets_of(name)
            places = select(Candidates(targets, gold.get(name, ())), **settings)
            rows += [replace(targets[place], sample=sample) for sample, place in enumerate(places)]
            progress(1)
        return rows
