"""The stages of the pool: what the teacher wrote, portion by portion, put together, and what is taught chosen from it.

The choice is a stage of its own, so that another one lets the teacher write nothing again.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from understudy.config.pool_selection import KeepAll, Selection
from understudy.config.pseudo_targets import InputKind
from understudy.pipeline.bench import Bench
from understudy.pipeline.portions import Writer, make_parts
from understudy.pipeline.readers import Reader
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.rows import joined
from understudy.pool.selection import SELECTIONS, Candidates
from understudy.pool.shards import write_shard
from understudy.progress import ProgressCallback
from understudy.records import PseudoTarget, TaskData
from understudy.store import Finished
from understudy.store.stages import content_key

KINDS: tuple[InputKind, ...] = ("labeled", "unlabeled")
SHARD = "shard-00000.parquet"


def make_pool(bench: Bench, data: TaskData, reader: Reader, teacher: Finished) -> Finished:
    """The stage that holds the pseudo-targets which are taught: all that were asked for, or the chosen of them."""
    pool = _written(Writer(bench, reader, teacher), data)
    if isinstance(bench.recipe.pseudo_targets.select, KeepAll):
        return pool
    return _kept(bench, data, reader, pool)


def _written(writer: Writer, data: TaskData) -> Finished:
    """The stage of the texts that are asked for, in the order of the inputs."""
    asked = writer.bench.recipe.pseudo_targets
    taught = {kind: getattr(data, kind) for kind in KINDS if kind in asked.inputs}
    parts = [part for kind, examples in taught.items() if examples for part in make_parts(writer, kind, examples)]
    inputs = {example.id: example.source for examples in taught.values() for example in examples}

    def work(folder: Path) -> Mapping[str, object]:
        rows = joined((part.rows(most=asked.per_input) for part in parts), inputs)
        write_shard(folder / SHARD, rows, PseudoTargetPool.open(parts[0].portion.folder).provenance)
        return {"statistics": PseudoTargetPool.open(folder).statistics(eos_id=writer.reader.tokenizer.eos_token_id)}

    settings = {"inputs": content_key(list(inputs.items())), "per_input": asked.per_input}
    # In an order that does not depend on which of them were found and which are new.
    in_order = sorted({(part.start, part.portion.key): part.portion for part in parts}.items())
    portions = {f"texts_{number}": portion for number, (_, portion) in enumerate(in_order)}
    return writer.bench.store.stage("pool", settings=settings, inputs=portions, work=work)


def _kept(bench: Bench, data: TaskData, reader: Reader, pool: Finished) -> Finished:
    keep = bench.recipe.pseudo_targets.select
    settings: dict[str, object] = {"keep": keep.model_dump()}
    gold: dict[str, tuple[str, ...]] = {}
    if keep.kind == "closest_to_gold":  # no other choice looks at gold, so none of them changes with it
        gold = {example.id: example.targets for example in data.labeled}
        settings["gold"] = content_key(gold)

    def work(folder: Path) -> Mapping[str, object]:
        whole = PseudoTargetPool.open(pool.folder)
        with bench.progress.track("pseudo-targets are chosen", len(whole.inputs), "input") as advance:
            rows = _chosen(whole, keep, gold, advance)
        provenance = {**whole.provenance, "keep": keep.model_dump_json()}
        write_shard(folder / SHARD, rows, provenance)
        return {
            "written": len(whole),
            "distinct": len(set(zip(whole.input_ids, whole.texts, strict=True))),
            "kept": len(rows),
            "statistics": PseudoTargetPool.open(folder).statistics(eos_id=reader.tokenizer.eos_token_id),
        }

    return bench.store.stage("pool_kept", settings=settings, inputs={"pool": pool}, work=work)


def _chosen(
    pool: PseudoTargetPool, keep: Selection, gold: Mapping[str, tuple[str, ...]], advance: ProgressCallback
) -> list[PseudoTarget]:
    """The kept rows, input by input, their samples counted from 0 again."""
    select, settings = SELECTIONS[keep.kind], keep.model_dump(exclude={"kind"})
    rows: list[PseudoTarget] = []
    for name in pool.inputs:
        targets = pool.targets_of(name)
        places = select(Candidates(targets, gold.get(name, ())), **settings)
        rows += [replace(targets[place], sample=sample) for sample, place in enumerate(places)]
        advance(1)
    return rows
