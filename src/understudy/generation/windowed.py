"""Generates short texts with a fast engine that ignores a model's sliding window, longer ones with transformers.

A sliding window changes nothing as long as source and text fit into it. CTranslate2 4.8.5 gets windows wrong (beams of
Mistral, anything of Gemma 3), so a model is converted without its window.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Self

from understudy.config.decoding import PoolDecoding
from understudy.generation.engine import Engine
from understudy.progress import ProgressCallback
from understudy.records import Generated


class WindowedEngine:
    """Two engines of one model; the second is opened when the first longer text needs it."""

    def __init__(self, fast: Engine, window: int, open_exact: Callable[[], AbstractContextManager[Engine]]) -> None:
        """Use `open_exact` for sources that need more than `window` positions together with their texts."""
        self.name = fast.name
        self._fast = fast
        self._window = window
        self._open_exact = open_exact
        self._exact: Engine | None = None
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def generate(
        self,
        sources: Sequence[Sequence[int]],
        decoding: PoolDecoding,
        *,
        per_source: int = 1,
        max_tokens: int,
        seed: int | None = 0,
        stop_ids: Collection[int] = (),
        progress: ProgressCallback | None = None,
    ) -> list[tuple[Generated, ...]]:
        """See `Engine`."""
        texts: list[tuple[Generated, ...]] = [()] * len(sources)
        for engine, rows in self._parts([len(source) + max_tokens for source in sources]):
            found = engine.generate(
                [sources[row] for row in rows],
                decoding,
                per_source=per_source,
                max_tokens=max_tokens,
                seed=seed,
                stop_ids=stop_ids,
                progress=progress,
            )
            for row, own in zip(rows, found, strict=True):
                texts[row] = own
        return texts

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[list[float]]:
        """See `Engine`."""
        scores: list[list[float]] = [[]] * len(sources)
        for engine, rows in self._parts([len(s) + len(t) for s, t in zip(sources, targets, strict=True)]):
            found = engine.score([sources[row] for row in rows], [targets[row] for row in rows])
            for row, own in zip(rows, found, strict=True):
                scores[row] = own
        return scores

    def _parts(self, positions: Sequence[int]) -> list[tuple[Engine, list[int]]]:
        """The engines with the rows that each is used for."""
        short = [row for row, needed in enumerate(positions) if needed <= self._window]
        longer = [row for row, needed in enumerate(positions) if needed > self._window]
        if not longer:
            return [(self._fast, short)]
        if self._exact is None:
            self._exact = self._opened.enter_context(self._open_exact())
        return [(self._fast, short)] * bool(short) + [(self._exact, longer)]
