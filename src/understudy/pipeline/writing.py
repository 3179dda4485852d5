"""The stages of the pool: the teacher writes it, and what is taught is chosen from it.

Choosing is a stage of its own, so that another choice from the same pool lets the teacher write nothing again.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from understudy.config.selection import KeepAll, Selection
from understudy.generation import open_engine
from understudy.models.checkpoint import load_network
from understudy.pipeline.bench import Bench
from understudy.pipeline.lessons import pool_inputs
from understudy.pipeline.networks import NETWORK
from understudy.pipeline.readers import Reader
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.selection import SELECTIONS, Candidates
from understudy.pool.shards import write_shard
from understudy.progress import Advance
from understudy.records import PseudoTarget, TaskData
from understudy.store import Finished
from understudy.store.stages import content_key
from understudy.teacher.writing import write_pool


def make_pool(
    bench: Bench, data: TaskData, reader: Reader, teacher: Finished, limits: Mapping[str, object]
) -> Finished:
    """The stage that holds the pseudo-targets which are taught: all that the teacher wrote, or the chosen of them."""
    pool = _written(bench, data, reader, teacher, limits)
    if isinstance(bench.recipe.pseudo_targets.keep, KeepAll):
        return pool
    return _kept(bench, data, reader, pool)


def _written(bench: Bench, data: TaskData, reader: Reader, teacher: Finished, limits: Mapping[str, object]) -> Finished:
    recipe = bench.recipe
    asked = recipe.pseudo_targets
    settings = {
        "pseudo_targets": asked.model_dump(exclude={"keep"}),
        "seed": recipe.seed,
        "engine": recipe.engine,
        "limits": limits,
    }

    def work(folder: Path) -> Mapping[str, object]:
        examples = pool_inputs(data, asked.inputs)
        sources = dict(zip((example.id for example in examples), reader.sources(examples), strict=True))
        network = load_network(str(teacher.folder / NETWORK))
        with (
            open_engine(recipe.engine, network, reader.tokenizer) as engine,
            bench.progress.work("teacher writes pseudo-targets", len(sources), "input") as advance,
        ):
            write_pool(
                engine,
                sources,
                decoding=asked.decoding,
                per_input=asked.per_input,
                max_tokens=recipe.task.max_target_tokens,
                seed=recipe.seed,
                shard_inputs=asked.shard_inputs,
                decode=reader.text,
                provenance={
                    "teacher": teacher.key,
                    "engine": engine.name,
                    "decoding": asked.decoding.model_dump_json(),
                    "seed": str(recipe.seed),
                },
                folder=folder,
                advance=advance,
            )
        return {"statistics": PseudoTargetPool.open(folder).statistics(eos_id=reader.tokenizer.eos_token_id)}

    return bench.store.stage("pool", settings=settings, inputs={"teacher": teacher}, work=work)


def _kept(bench: Bench, data: TaskData, reader: Reader, pool: Finished) -> Finished:
    keep = bench.recipe.pseudo_targets.keep
    settings: dict[str, object] = {"keep": keep.model_dump()}
    gold: dict[str, tuple[str, ...]] = {}
    if keep.kind == "closest_to_gold":  # no other choice looks at gold, so none of them changes with it
        gold = {example.id: example.targets for example in data.labeled}
        settings["gold"] = content_key(gold)

    def work(folder: Path) -> Mapping[str, object]:
        whole = PseudoTargetPool.open(pool.folder)
        with bench.progress.work("pseudo-targets are chosen", len(whole.inputs), "input") as advance:
            rows = _chosen(whole, keep, gold, advance)
        provenance = {**whole.provenance, "keep": keep.model_dump_json()}
        write_shard(folder / "shard-00000.parquet", rows, provenance)
        return {
            "written": len(whole),
            "distinct": len(set(zip(whole.input_ids, whole.texts, strict=True))),
            "kept": len(rows),
            "statistics": PseudoTargetPool.open(folder).statistics(eos_id=reader.tokenizer.eos_token_id),
        }

    return bench.store.stage("pool_kept", settings=settings, inputs={"pool": pool}, work=work)


def _chosen(
    pool: PseudoTargetPool, keep: Selection, gold: Mapping[str, tuple[str, ...]], advance: Advance
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
