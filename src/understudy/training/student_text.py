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
from understudy.generation import open_engine
from understudy.models.text import decode
from understudy.pool.rows import rows_of
from understudy.pool.shards import read_shard, write_shard
from understudy.training.mixture import Lesson
from understudy.training.texts import Texts


@dataclass(frozen=True)
class StudentWriter:
    """Writes the student's texts of a round; callable as the loop's `write_texts`."""

    sources: Texts
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

    def __call__(self, student: PreTrainedModel, lessons: Sequence[Lesson], number: int) -> Texts:
        """The texts of the round's student lessons, in their order."""
        texts = self._written_since(number)
        missing = [lesson for lesson in lessons if self.input_ids[lesson.source] not in texts]
        path = self._shard(number)
        if missing and not path.exists():
            self._write(student, missing, number, path)
        if missing:
            texts |= _by_input(path)
        return Texts.of([text for lesson in lessons for text in texts[self.input_ids[lesson.source]]])

    def _written_since(self, number: int) -> dict[str, list[list[int]]]:
        """What was written for each input in the rounds before that are young enough, the latest first of all."""
        texts: dict[str, list[list[int]]] = {}
        for earlier in range(max(0, number - self.max_age), number):
            if self._shard(earlier).exists():
                texts |= _by_input(self._shard(earlier))
        return texts

    def _shard(self, number: int) -> Path:
        return self.folder / f"round-{number:05d}.parquet"

    def _write(self, student: PreTrainedModel, lessons: Sequence[Lesson], number: int, path: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        per_source = len(lessons[0].rows)
        with open_engine(self.engine, student, self.tokenizer) as engine:
            written = engine.generate(
                [self.sources[lesson.source].tolist() for lesson in lessons],
                self.decoding,
                per_source=per_source,
                max_tokens=self.max_tokens,
                seed=self.seed + number,
            )
        rows = rows_of(
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
