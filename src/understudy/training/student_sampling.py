"""The student writes the texts it is taught on, a round at a time.

One large batch on a fast engine at the start of a round instead of a few texts before every step: with one round
per step this is the paper's method, with fewer the texts age by up to a round. What was written is kept as a shard
of the pool, so that a resumed round teaches the same texts and anybody can look at them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Decoding, EngineName
from understudy.generation import live_engine
from understudy.models.text import decode
from understudy.pool.rows import pseudo_target_rows
from understudy.pool.shards import read_shard, write_shard
from understudy.pool.token_arrays import TokenArrays
from understudy.training.mixture import TrainItem


@dataclass(frozen=True)
class StudentSamples:
    """The student's texts that a round may teach: those of the round, and those of earlier ones that are young."""

    texts: TokenArrays
    rows: Sequence[tuple[int, ...]]
    """Which of them each of the round's lessons teaches."""
    rounds: Mapping[int, Sequence[TrainItem]]
    """The round they were written in -> lessons that name all that was written then, in the order of `texts`."""


@dataclass(frozen=True)
class StudentSampler:
    """Writes the student's texts of a round; callable as the loop's `sample_student`."""

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
    """Rounds for which a text is taught again before another is written for its input."""

    def __call__(self, student: PreTrainedModel, lessons: Sequence[TrainItem], number: int) -> StudentSamples:
        """The texts of the round's student lessons."""
        young = range(max(0, number - self.max_age), number)
        shards = {earlier: _by_input(self._shard(earlier)) for earlier in young if self._shard(earlier).exists()}
        known = {name for texts in shards.values() for name in texts}
        missing = [lesson for lesson in lessons if self.input_ids[lesson.source] not in known]
        if missing and not self._shard(number).exists():
            self._write(student, missing, number, self._shard(number))
        if missing:
            shards[number] = _by_input(self._shard(number))
        return self._collected(shards, lessons)

    def _collected(
        self, shards: Mapping[int, Mapping[str, list[list[int]]]], lessons: Sequence[TrainItem]
    ) -> StudentSamples:
        """Shard after shard; a lesson teaches the latest texts of its input."""
        source_of = {self.input_ids[source]: source for source in range(len(self.input_ids))}
        texts: list[list[int]] = []
        rounds: dict[int, list[TrainItem]] = {}
        latest: dict[int, tuple[int, ...]] = {}
        for number, shard in shards.items():
            for name, written in shard.items():
                latest[source_of[name]] = tuple(range(len(texts), len(texts) + len(written)))
                rounds.setdefault(number, []).append(TrainItem(source_of[name], "student", latest[source_of[name]]))
                texts += written
        return StudentSamples(TokenArrays.of(texts), [latest[lesson.source] for lesson in lessons], rounds)

    def _shard(self, number: int) -> Path:
        return self.folder / f"round-{number:05d}.parquet"

    def _write(self, student: PreTrainedModel, lessons: Sequence[TrainItem], number: int, path: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        per_source = len(lessons[0].rows)
        with live_engine(self.engine, student, self.tokenizer, workspace=self.folder) as engine:
            written = engine.generate(
                [self.sources[lesson.source].tolist() for lesson in lessons],
                self.decoding,
                per_source=per_source,
                max_tokens=self.max_tokens,
                seed=self.seed + number,
            )
        rows = pseudo_target_rows(
            [self.input_ids[lesson.source] for lesson in lessons],
            written,
            generator="student",
            round_number=number,
            decode=lambda token_ids: decode(self.tokenizer, token_ids),
        )
        write_shard(path, rows, dict(self.provenance))


def _by_input(path: Path) -> dict[str, list[list[int]]]:
    table = read_shard(path).table
    texts: dict[str, list[list[int]]] = {}
    for name, token_ids in zip(table["input_id"].to_pylist(), table["token_ids"].to_pylist(), strict=True):
        texts.setdefault(name, []).append(token_ids)
    return texts
