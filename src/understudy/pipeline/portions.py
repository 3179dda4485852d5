"""Portions of the pool: stages that hold some texts of some inputs, so that the teacher writes no text twice.

Portions are of one line where all that decides a text is the same but the input: the teacher, how it writes, which of
an input's texts they are. Whatever a finished portion of the line holds is taken over, whichever run had it written,
and the teacher writes for the other inputs alone.
"""

from collections.abc import Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import cast

from understudy.config.pseudo_targets import InputKind, PseudoTargets
from understudy.generation import engine_for, open_engine
from understudy.models.checkpoint import load_network
from understudy.pipeline.bench import Bench, device_here
from understudy.pipeline.course import limits
from understudy.pipeline.networks import NETWORK
from understudy.pipeline.readers import Reader
from understudy.pool.generate import generate_pool
from understudy.pool.pool import PseudoTargetPool
from understudy.records import Example, PseudoTarget
from understudy.store import Finished
from understudy.store.disk import read_json, write_json
from understudy.store.stages import content_key

TOGETHER = 4
"""Samples of an input that are drawn together: with one at a time, long inputs would be encoded once per sample."""
SOURCES = "sources.json"
"""File of a portion: the keys of its sources, which are the ids of the inputs there."""


@dataclass(frozen=True)
class Writer:
    """Who writes, and for which recipe: what all portions of a pool share."""

    bench: Bench
    reader: Reader
    teacher: Finished


@dataclass(frozen=True)
class Part:
    """What is taken of one portion."""

    portion: Finished
    names: Mapping[str, str]
    """Keys of sources -> the ids that their inputs have in the task."""
    start: int
    """Which text of its input the portion's first one is."""

    def rows(self, *, most: int) -> Iterator[PseudoTarget]:
        """Its texts under the task's ids, of no input more than its first `most`, wherever those stand."""
        for row in PseudoTargetPool.open(self.portion.folder):
            if row.input_id in self.names and self.start + row.sample < most:
                yield replace(row, input_id=self.names[row.input_id])


def make_parts(writer: Writer, kind: InputKind, examples: Sequence[Example]) -> list[Part]:
    """The texts of these inputs, part by part: those that were there, and those that the teacher writes now.

    No two examples have the same source.
    """
    wanted = {content_key(example.source): example for example in examples}
    return [
        part
        for start, count in portions_of(writer.bench.recipe.pseudo_targets)
        for part in _parts(writer, kind, wanted, start=start, count=count)
    ]


def portions_of(asked: PseudoTargets) -> list[tuple[int, int]]:
    """First text and number of texts of each portion that holds what is asked.

    Portions are written whole, also where not all of the last one is taught: so a text is the same however many of
    its input are asked. One search finds all its texts at once; samples come alone, three, and `TOGETHER` at a time.
    """
    if asked.max_per_search is not None:
        return [(0, asked.max_per_search)]
    bounds = [0, 1, *range(TOGETHER, asked.per_input + TOGETHER, TOGETHER)]
    return [(start, end - start) for start, end in pairwise(bounds) if start < asked.per_input]


def _parts(writer: Writer, kind: InputKind, wanted: Mapping[str, Example], *, start: int, count: int) -> list[Part]:
    line, lacking = _line(writer, start=start, count=count), dict(wanted)
    parts: list[Part] = []
    for portion, sources in _found(writer, line, wanted.keys()):
        names = {source: lacking.pop(source).id for source in sources if source in lacking}
        if names:
            parts.append(Part(portion, names, start))
    if lacking:
        which = f"text {start + 1}" if count == 1 else f"texts {start + 1} to {start + count}"
        if parts:
            there = f"{len(wanted) - len(lacking)} of {len(wanted)} {kind} inputs"
            writer.bench.progress.log(f"{there} have {which} already")
        written = _write(writer, lacking, line, title=f"teacher writes {which} of {kind} inputs")
        parts.append(Part(written, {source: example.id for source, example in lacking.items()}, start))
    return parts


def _line(writer: Writer, *, start: int, count: int) -> dict[str, object]:
    """The settings that portions of one line share."""
    recipe = writer.bench.recipe
    return {
        "start": start,
        "count": count,
        "decoding": recipe.pseudo_targets.decoding.model_dump(),
        "shard_inputs": recipe.pseudo_targets.shard_inputs,
        "seed": recipe.seed,
        "engine": recipe.engine,
        "limits": limits(recipe),
    }


def _found(writer: Writer, line: Mapping[str, object], wanted: KeysView[str]) -> list[tuple[Finished, list[str]]]:
    """The line's portions with their sources: first that of just these inputs, else those that hold most of them."""
    found = [
        (portion, cast(list[str], read_json(portion.folder / SOURCES)["sources"]))
        for portion in writer.bench.store.found("texts", settings=line, inputs={"teacher": writer.teacher})
    ]
    return sorted(found, key=lambda one: (-len(wanted & set(one[1])), len(one[1]), one[0].key))


def _write(writer: Writer, lacking: Mapping[str, Example], line: Mapping[str, object], *, title: str) -> Finished:
    """The stage of the texts that are not there yet."""
    bench, reader, recipe = writer.bench, writer.reader, writer.bench.recipe
    asked, count = recipe.pseudo_targets, cast(int, line["count"])
    settings = {**line, "sources": content_key(list(lacking))}
    # Of all settings, so that no two portions are drawn with the same random numbers.
    seed = int(content_key(settings), 16) % 2**31

    def work(folder: Path) -> Mapping[str, object]:
        network = load_network(str(writer.teacher.folder / NETWORK)).to(device_here())
        with (
            open_engine(engine_for(recipe.engine, asked.decoding), network, reader.tokenizer) as engine,
            bench.progress.track(title, len(lacking), "input") as advance,
        ):
            generate_pool(
                engine,
                dict(zip(lacking, reader.sources(list(lacking.values())), strict=True)),
                decoding=asked.decoding,
                per_input=count,
                max_tokens=recipe.task.max_target_tokens,
                seed=seed,
                shard_inputs=asked.shard_inputs,
                decode=reader.text,
                provenance={
                    "teacher": writer.teacher.key,
                    "engine": engine.name,
                    "decoding": asked.decoding.model_dump_json(),
                    "seed": str(recipe.seed),
                },
                folder=folder,
                advance=advance,
            )
        write_json(folder / SOURCES, {"sources": list(lacking)})
        return {"texts": count * len(lacking)}

    return bench.store.stage("texts", settings=settings, inputs={"teacher": writer.teacher}, work=work)
