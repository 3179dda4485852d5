"""The stages of the pool: the teacher writes it portion by portion, and what is taught is chosen from it.

A portion is some texts of all labelled, or of all unlabelled, inputs. Portions and the choice are stages of their own,
so that a pool that grows, or another choice from it, lets the teacher write nothing again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from understudy.config.decoding import Sampling
from understudy.config.recipe import InputKind, PseudoTargets
from understudy.config.selection import KeepAll, Selection
from understudy.generation import engine_for, open_engine
from understudy.models.checkpoint import load_network
from understudy.pipeline.bench import Bench, device_here
from understudy.pipeline.networks import NETWORK
from understudy.pipeline.readers import Reader
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.rows import joined
from understudy.pool.selection import SELECTIONS, Candidates
from understudy.pool.shards import write_shard
from understudy.progress import Advance
from understudy.records import Example, PseudoTarget, TaskData
from understudy.store import Finished
from understudy.store.stages import content_key
from understudy.teacher.writing import write_pool

PORTION = 4
"""Samples of an input that are drawn together: with one at a time, long inputs would be encoded once per sample."""
KINDS: tuple[InputKind, ...] = ("labeled", "unlabeled")
SHARD = "shard-00000.parquet"


def make_pool(
    bench: Bench, data: TaskData, reader: Reader, teacher: Finished, limits: Mapping[str, object]
) -> Finished:
    """The stage that holds the pseudo-targets which are taught: all that the teacher wrote, or the chosen of them."""
    pool = _written(bench, data, reader, teacher, limits)
    if isinstance(bench.recipe.pseudo_targets.keep, KeepAll):
        return pool
    return _kept(bench, data, reader, pool)


def _written(bench: Bench, data: TaskData, reader: Reader, teacher: Finished, limits: Mapping[str, object]) -> Finished:
    asked = bench.recipe.pseudo_targets
    portions = {
        f"{kind}_{start}": _portion(bench, data, reader, teacher, limits, kind=kind, start=start, count=count)
        for kind in KINDS
        if kind in asked.inputs and getattr(data, kind)
        for start, count in portions_of(asked)
    }

    def work(folder: Path) -> Mapping[str, object]:
        pools = [PseudoTargetPool.open(portion.folder) for portion in portions.values()]
        provenance = {name: text for name, text in pools[0].provenance.items() if name not in {"inputs", "start"}}
        write_shard(folder / SHARD, joined(pools), provenance)
        return {"statistics": PseudoTargetPool.open(folder).statistics(eos_id=reader.tokenizer.eos_token_id)}

    return bench.store.stage("pool", settings={}, inputs=portions, work=work)


def portions_of(asked: PseudoTargets) -> list[tuple[int, int]]:
    """First text and number of texts of each portion in which the texts of an input are written.

    Samples come `PORTION` at a time, so that more of them leave those there are as they are; the beams of an input
    come from one search.
    """
    if not isinstance(asked.decoding, Sampling):
        return [(0, asked.per_input)]
    return [(start, min(PORTION, asked.per_input - start)) for start in range(0, asked.per_input, PORTION)]


def _portion(
    bench: Bench,
    data: TaskData,
    reader: Reader,
    teacher: Finished,
    limits: Mapping[str, object],
    *,
    kind: InputKind,
    start: int,
    count: int,
) -> Finished:
    """The stage of some texts of every labelled, or every unlabelled, input."""
    recipe = bench.recipe
    asked = recipe.pseudo_targets
    settings = {
        "inputs": kind,
        "start": start,
        "count": count,
        "decoding": asked.decoding.model_dump(),
        "shard_inputs": asked.shard_inputs,
        "seed": recipe.seed,
        "engine": recipe.engine,
        "limits": limits,
        "left": bench.left,
    }

    def work(folder: Path) -> Mapping[str, object]:
        examples: Sequence[Example] = getattr(data, kind)
        sources = dict(zip((example.id for example in examples), reader.sources(examples), strict=True))
        network = load_network(str(teacher.folder / NETWORK)).to(device_here())
        title = f"teacher writes texts {start + 1} to {start + count} of {kind} inputs"
        with (
            open_engine(engine_for(recipe.engine, asked.decoding), network, reader.tokenizer) as engine,
            bench.progress.work(title, len(sources), "input") as advance,
        ):
            write_pool(
                engine,
                sources,
                decoding=asked.decoding,
                per_input=count,
                max_tokens=recipe.task.max_target_tokens,
                seed=int(content_key({"seed": recipe.seed, "inputs": kind, "start": start}), 16) % 2**31,
                shard_inputs=asked.shard_inputs,
                decode=reader.text,
                provenance={
                    "teacher": teacher.key,
                    "engine": engine.name,
                    "decoding": asked.decoding.model_dump_json(),
                    "seed": str(recipe.seed),
                    "inputs": kind,
                    "start": str(start),
                },
                folder=folder,
                advance=advance,
            )
        return {"texts": count * len(sources)}

    return bench.store.stage("texts", settings=settings, inputs={"teacher": teacher}, work=work)


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
        write_shard(folder / SHARD, rows, provenance)
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
