"""Student samples: texts that the student generates during training and trains on, a round at a time.

One large batch on a fast engine at the start of a round instead of a few texts before every step: with one round per
step this is the paper's method, with longer rounds the samples age by up to a round. The samples of a round are stored
as a pool file, so that a resumed round trains on the same texts and they can be inspected.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.columns import ArrowColumn, places
from understudy.config.decoding import Decoding, EngineName
from understudy.generation import live_engine
from understudy.models.text import decode
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.pool_files import read_pool_file, write_pool_file
from understudy.pool.rows import pseudo_target_rows
from understudy.pool.token_arrays import Ints, TokenArrays, offsets_of, ranges
from understudy.training.items import TrainItem, TrainItems


@dataclass(frozen=True)
class StudentSamples:
    """The student samples that a round may use: its own, and those of recent rounds."""

    texts: TokenArrays
    items: TrainItems
    """The round's items, with their rows of `texts`."""
    rounds: Mapping[int, TrainItems]
    """Round of generation -> items that contain all samples of that round, in the order of `texts`."""


@dataclass(frozen=True)
class StudentSampler:
    """Generates the student samples of a round; callable as the loop's `sample_student`."""

    sources: TokenArrays
    input_ids: ArrowColumn
    tokenizer: PreTrainedTokenizerBase
    engine: EngineName
    decoding: Decoding
    max_tokens: int
    seed: int
    provenance: Mapping[str, str]
    folder: Path
    max_age: int = 0
    """Rounds for which a sample is reused before a new one is generated for its input."""

    def __call__(self, student: PreTrainedModel, items: Sequence[TrainItem], number: int) -> StudentSamples:
        """The samples for the items of round `number`."""
        items, recent = TrainItems.of(items), range(max(0, number - self.max_age), number)
        files = {earlier: self._read(earlier) for earlier in recent if self._path(earlier).exists()}
        available = np.concatenate([items.sources[:0], *(own.sources for own in files.values())])
        missing = items.take(np.flatnonzero(~np.isin(items.sources, available)))
        if missing and not self._path(number).exists():
            self._generate(student, missing, number)
        if missing:
            files[number] = self._read(number)
        return self._collected(files, items)

    def generated(self) -> Iterator[tuple[TrainItems, TokenArrays]]:
        """The samples of each round that are in the folder, as items and their texts."""
        for path in sorted(self.folder.glob("round-*.parquet")):
            own = self._read(int(path.stem.removeprefix("round-")))
            yield TrainItems.of_one("student", own.sources, np.arange(len(own.texts)), own.counts), own.texts

    def _collected(self, files: Mapping[int, "_File"], items: TrainItems) -> StudentSamples:
        """The texts of all files, one file after the other; an item gets the latest texts of its input."""
        latest, counts = np.zeros(len(self.input_ids), np.int64), np.zeros(len(self.input_ids), np.int64)
        rounds, before = {}, 0
        for number, own in files.items():
            rows = np.arange(before, before + len(own.texts))
            rounds[number] = TrainItems.of_one("student", own.sources, rows, own.counts)
            latest[own.sources], counts[own.sources] = before + offsets_of(own.counts)[:-1], own.counts
            before += len(own.texts)
        counts = counts[items.sources]
        own_rows = ranges(latest[items.sources], counts)
        return StudentSamples(
            TokenArrays.joined([own.texts for own in files.values()]),
            TrainItems.of_one("student", items.sources, own_rows, counts),
            rounds,
        )

    def _read(self, number: int) -> "_File":
        file = read_pool_file(self._path(number))
        pool = PseudoTargetPool(self.folder, file.provenance, file.table)
        sources = places(pool.table["input_id"], self.input_ids)
        first = np.flatnonzero(np.diff(sources, prepend=-1))  # the texts of an input follow each other
        return _File(sources[first], np.diff(first, append=len(sources)), TokenArrays(pool.token_ids, pool.offsets))

    def _path(self, number: int) -> Path:
        return self.folder / f"round-{number:05d}.parquet"

    def _generate(self, student: PreTrainedModel, items: TrainItems, number: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with live_engine(self.engine, student, self.tokenizer, workspace=self.folder) as engine:
            generated = engine.generate(
                [self.sources[source].tolist() for source in items.sources],
                self.decoding,
                per_source=len(items[0].rows),
                max_tokens=self.max_tokens,
                seed=self.seed + number,
            )
        rows = pseudo_target_rows(
            self.input_ids.take(items.sources).to_pylist(),
            generated,
            generator="student",
            round_number=number,
            decode=lambda token_ids: decode(self.tokenizer, token_ids),
        )
        write_pool_file(self._path(number), rows, dict(self.provenance))


@dataclass(frozen=True)
class _File:
    """The texts of one file, source by source."""

    sources: Ints
    counts: Ints
    texts: TokenArrays
