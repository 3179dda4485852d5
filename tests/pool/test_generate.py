from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from understudy.config.decoding import PoolDecoding, Sampling
from understudy.errors import GenerationError
from understudy.pool import PseudoTargetPool
from understudy.pool.generate import generate_pool
from understudy.pool.pool_files import read_pool_file
from understudy.progress import NO_PROGRESS, NO_VALUES, ProgressCallback, Values
from understudy.records import Generated

SOURCES = {name: [index, 2] for index, name in enumerate("edcbafg")}
DECODING = Sampling(top_p=0.5)


class RecordingEngine:
    """An engine whose texts are source, seed and sample number, and that records its calls."""

    name = "recording"

    def __init__(self, *, fails_at: int | None = None) -> None:
        self.calls: list[tuple[list[list[int]], int]] = []
        self.settings: list[tuple[PoolDecoding, int, int]] = []
        self.fails_at = fails_at

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[list[float]]:
        """Is not called."""
        raise NotImplementedError

    def generate(
        self,
        sources: Sequence[Sequence[int]],
        decoding: PoolDecoding,
        *,
        per_source: int = 1,
        max_tokens: int,
        seed: int | None = 0,
        stop_ids: Collection[int] = (),
        progress: Callable[[int], None] | None = None,
    ) -> list[tuple[Generated, ...]]:
        """Records one call."""
        assert seed is not None  # a pool can be generated again
        if len(self.calls) == self.fails_at:
            raise KeyboardInterrupt
        self.calls.append(([list(source) for source in sources], seed))
        self.settings.append((decoding, per_source, max_tokens))
        if progress:
            progress(len(sources))
        return [
            tuple(Generated((source[0], seed, copy), -float(copy)) for copy in range(per_source)) for source in sources
        ]


class TotalProgress:
    """Adds up the amounts of a progress callback."""

    total = 0.0

    def __call__(self, amount: float, note: str = "", values: Values = NO_VALUES) -> None:
        """Adds one amount."""
        self.total += amount


def generate(engine: RecordingEngine, folder: Path, *, seed: int = 5, progress: ProgressCallback = NO_PROGRESS) -> None:
    """Seven inputs in files of three, two texts each."""
    generate_pool(
        engine, SOURCES, decoding=DECODING, per_input=2, max_tokens=9, seed=seed, inputs_per_file=3,
        decode=lambda ids: " ".join(map(str, ids)), provenance={"teacher": "t"}, folder=folder,
        progress=progress,
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    """The content of every file."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_pool_has_every_text_in_order(tmp_path: Path) -> None:
    """Input by input in the given order, sample by sample, with the teacher as generator."""
    generate(RecordingEngine(), tmp_path)
    pool = list(PseudoTargetPool.open(tmp_path))

    assert [(row.input_id, row.sample) for row in pool] == [(name, sample) for name in "edcbafg" for sample in (0, 1)]
    assert [row.token_ids[0] for row in pool] == [index for index in range(7) for _ in range(2)]
    assert all(row.text == " ".join(map(str, row.token_ids)) for row in pool)
    assert {(row.generator, row.round) for row in pool} == {("teacher", 0)}


def test_a_file_has_its_own_inputs_and_seed(tmp_path: Path) -> None:
    """The settings alone determine the files; no two files, and no two seeds of runs, share draws."""
    one, other = RecordingEngine(), RecordingEngine()
    (tmp_path / "other").mkdir()
    generate(one, tmp_path)
    generate(other, tmp_path / "other", seed=6)

    assert [[source[0] for source in sources] for sources, _ in one.calls] == [[0, 1, 2], [3, 4, 5], [6]]
    assert len({seed for _, seed in one.calls + other.calls}) == 6
    assert one.settings == [(DECODING, 2, 9)] * 3


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_resumed_equals_uninterrupted(fails_at: int, tmp_path: Path) -> None:
    """Finished files are kept and not generated again; at the end every byte is the same."""
    uninterrupted, resumed = tmp_path / "uninterrupted", tmp_path / "resumed"
    uninterrupted.mkdir()
    resumed.mkdir()
    generate(RecordingEngine(), uninterrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(RecordingEngine(fails_at=fails_at), resumed)
    engine, progress = RecordingEngine(), TotalProgress()
    generate(engine, resumed, progress=progress)

    assert len(engine.calls) == 3 - fails_at
    assert contents(resumed) == contents(uninterrupted)
    assert progress.total == len(SOURCES)


def test_files_contain_their_provenance(tmp_path: Path) -> None:
    """That of the caller, the same in all files."""
    generate(RecordingEngine(), tmp_path)

    assert [read_pool_file(path).provenance for path in sorted(tmp_path.iterdir())] == [{"teacher": "t"}] * 3


def test_errors_of_the_engine_pass_through(tmp_path: Path) -> None:
    """The caller gets the engine's error, and no file is written."""

    class Refusing(RecordingEngine):
        def generate(self, *args: object, **settings: object) -> list[tuple[Generated, ...]]:
            raise GenerationError("one text per source")

    with pytest.raises(GenerationError, match="one text per source"):
        generate(Refusing(), tmp_path)

    assert contents(tmp_path) == {}
