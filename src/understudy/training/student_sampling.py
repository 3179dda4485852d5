"""Student samples: texts that the student generates during training and trains on, a round at a time.

One large batch on a fast engine at the start of a round instead of a few texts before every step: with one round per
step this is the paper's method, with longer rounds the samples age by up to a round. The samples of a round are stored
as a pool file, so that a resumed round trains on the same texts and they can be inspected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Decoding, EngineName
from understudy.generation import live_engine
from understudy.models.text import decode
from understudy.pool.pool_files import read_pool_file, write_pool_file
from understudy.pool.rows import pseudo_target_rows
from understudy.pool.token_arrays import TokenArrays
from understudy.training.items import TrainItem


@dataclass(frozen=True)
class StudentSamples:
    """The student samples that a round may use: its own, and those of recent rounds."""

    texts: TokenArrays
    rows: Sequence[tuple[int, ...]]
    """Rows of `texts` for each of the round's items."""
    rounds: Mapping[int, Sequence[TrainItem]]
    """Round of generation -> items that contain all samples of that round, in the order of `texts`."""


@dataclass(frozen=True)
class StudentSampler:
    """Generates the student samples of a round; callable as the loop's `sample_student`."""

    sources: TokenArrays
    input_ids: Sequence[str]
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
        recent = range(max(0, number - self.max_age), number)
        files = {earlier: _texts_by_input(self._path(earlier)) for earlier in recent if self._path(earlier).exists()}
        available = {input_id for texts in files.values() for input_id in texts}
        missing = [item for item in items if self.input_ids[item.source] not in available]
        if missing and not self._path(number).exists():
            self._generate(student, missing, number)
        if missing:
            files[number] = _texts_by_input(self._path(number))
        return self._collected(files, items)

    def _collected(
        self, files: Mapping[int, Mapping[str, list[list[int]]]], items: Sequence[TrainItem]
    ) -> StudentSamples:
        """The texts of all files, one file after the other; an item gets the latest texts of its input."""
        source_of = {self.input_ids[source]: source for source in range(len(self.input_ids))}
        texts: list[list[int]] = []
        rounds: dict[int, list[TrainItem]] = {}
        latest: dict[int, tuple[int, ...]] = {}
        for number, by_input in files.items():
            for input_id, samples in by_input.items():
                source = source_of[input_id]
                latest[source] = tuple(range(len(texts), len(texts) + len(samples)))
                rounds.setdefault(number, []).append(TrainItem(source, "student", latest[source]))
                texts += samples
        return StudentSamples(TokenArrays.of(texts), [latest[item.source] for item in items], rounds)

    def _path(self, number: int) -> Path:
        return self.folder / f"round-{number:05d}.parquet"

    def _generate(self, student: PreTrainedModel, items: Sequence[TrainItem], number: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with live_engine(self.engine, student, self.tokenizer, workspace=self.folder) as engine:
            generated = engine.generate(
                [self.sources[item.source].tolist() for item in items],
                self.decoding,
                per_source=len(items[0].rows),
                max_tokens=self.max_tokens,
                seed=self.seed + number,
            )
        rows = pseudo_target_rows(
            [self.input_ids[item.source] for item in items],
            generated,
            generator="student",
            round_number=number,
            decode=lambda token_ids: decode(self.tokenizer, token_ids),
        )
        write_pool_file(self._path(number), rows, dict(self.provenance))


def _texts_by_input(path: Path) -> dict[str, list[list[int]]]:
    table = read_pool_file(path).table
    texts: dict[str, list[list[int]]] = {}
    for input_id, token_ids in zip(table["input_id"].to_pylist(), table["token_ids"].to_pylist(), strict=True):
        texts.setdefault(input_id, []).append(token_ids)
    return texts
