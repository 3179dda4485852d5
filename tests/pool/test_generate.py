from collections.abc import Sequence
from pathlib import Path

import pytest

from understudy.pool.generate import generate_pool
from understudy.config.decoding import PoolDecoding, Sampling
from understudy.errors import GenerationError
from understudy.pool import PseudoTargetPool
from understudy.pool.shards import read_shard
from understudy.progress import ProgressCallback
from understudy.records import Generated

SOURCES = {name: [place, 2] for place, name in enumerate("edcbafg")}
DECODING = Sampling(top_p=0.5)


class Scribe:
    """An engine that writes its source, the seed and the number of the copy, and keeps a book of its calls."""

    name = "scribe"

    def __init__(self, *, fails_at: int | None = None) -> None:
        self.calls: list[tuple[list[list[int]], int]] = []
        self.asked: list[tuple[PoolDecoding, int, int]] = []
        self.fails_at = fails_at

    def generate(
        self,
        sources: Sequence[Sequence[int]],
        decoding: PoolDecoding,
        *,
        per_source: int = 1,
        max_tokens: int,
        seed: int = 0,
        progress: ProgressCallback | None = None,
    ) -> list[tuple[Generated, ...]]:
        """One call in the book."""
        if len(self.calls) == self.fails_at:
            raise KeyboardInterrupt
        self.calls.append(([list(source) for source in sources], seed))
        self.asked.append((decoding, per_source, max_tokens))
        if progress:
            progress(len(sources))
        return [
            tuple(Generated((source[0], seed, copy), -float(copy)) for copy in range(per_source)) for source in sources
        ]


class TeacherLogprobScorer:
    """Adds up what it is told."""

    total = 0.0

    def __call__(self, amount: float, note: str = "") -> None:
        """So much more is done."""
        self.total += amount


def write(engine: Scribe, folder: Path, *, seed: int = 5, advance: TeacherLogprobScorer | None = None) -> None:
    """Seven inputs in shards of three, two texts each."""
    generate_pool(
        engine, SOURCES, decoding=DECODING, per_input=2, max_tokens=9, seed=seed, shard_inputs=3,
        decode=lambda ids: " ".join(map(str, ids)), provenance={"teacher": "t"}, folder=folder,
        advance=advance or TeacherLogprobScorer(),
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, whole."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_pool_holds_every_text_in_order(tmp_path: Path) -> None:
    """Input by input as they were given, sample by sample, with the teacher as generator."""
    write(Scribe(), tmp_path)
    pool = list(PseudoTargetPool.open(tmp_path))

    assert [(row.input_id, row.sample) for row in pool] == [(name, sample) for name in "edcbafg" for sample in (0, 1)]
    assert [row.token_ids[0] for row in pool] == [place for place in range(7) for _ in range(2)]
    assert all(row.text == " ".join(map(str, row.token_ids)) for row in pool)
    assert {(row.generator, row.round) for row in pool} == {("teacher", 0)}


def test_a_shard_has_its_own_inputs_and_seed(tmp_path: Path) -> None:
    """Shards are cut by the settings alone; no two of them, and no two runs' seeds, share draws."""
    one, other = Scribe(), Scribe()
    (tmp_path / "other").mkdir()
    write(one, tmp_path)
    write(other, tmp_path / "other", seed=6)

    assert [[source[0] for source in sources] for sources, _ in one.calls] == [[0, 1, 2], [3, 4, 5], [6]]
    assert len({seed for _, seed in one.calls + other.calls}) == 6
    assert one.asked == [(DECODING, 2, 9)] * 3


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_resumed_is_uninterrupted(fails_at: int, tmp_path: Path) -> None:
    """Finished shards are kept and not written again; in the end every byte is the same."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    straight.mkdir()
    killed.mkdir()
    write(Scribe(), straight)
    with pytest.raises(KeyboardInterrupt):
        write(Scribe(fails_at=fails_at), killed)
    again, listener = Scribe(), TeacherLogprobScorer()
    write(again, killed, advance=listener)

    assert len(again.calls) == 3 - fails_at
    assert contents(killed) == contents(straight)
    assert listener.total == len(SOURCES)


def test_a_shard_says_where_it_comes_from(tmp_path: Path) -> None:
    """Its provenance is what the caller gave, the same in all shards."""
    write(Scribe(), tmp_path)

    assert [read_shard(path).provenance for path in sorted(tmp_path.iterdir())] == [{"teacher": "t"}] * 3


def test_what_an_engine_cannot_write_is_its_own_to_say(tmp_path: Path) -> None:
    """Its refusal arrives, and no shard pretends otherwise."""

    class Refusing(Scribe):
        def generate(self, *args: object, **settings: object) -> list[tuple[Generated, ...]]:
            raise GenerationError("one text per source")

    with pytest.raises(GenerationError, match="one text per source"):
        write(Refusing(), tmp_path)

    assert contents(tmp_path) == {}
