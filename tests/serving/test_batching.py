"""The queue of sources: what is refused because it would be answered too late."""

import threading
from collections.abc import Sequence

import pytest

from understudy.config.decoding import Greedy
from understudy.serving.batching import Batcher, QueueFull
from understudy.serving.deployment import Answer, TextSettings
from understudy.serving.limits import ServerLimits

SETTINGS = TextSettings(Greedy(), max_tokens=4)
ROW = [[1, 2]]


class Engine:
    """An engine that answers when it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.called = threading.Semaphore(0)

    def generate(self, rows: Sequence[Sequence[int]], settings: TextSettings) -> list[tuple[Answer, ...]]:
        """One text per source."""
        self.called.release()
        assert self.released.wait(60)
        return [(Answer("text", settings.max_tokens, 1.0, finished=True),) for _ in rows]


@pytest.mark.parametrize(("timeout_s", "refused"), [(1e-9, True), (1e9, False)])
def test_what_would_be_answered_too_late_is_refused(timeout_s: float, *, refused: bool) -> None:
    """The queue has room, but by the speed of the first batch a second waiting source would be late."""
    engine = Engine()
    limits = ServerLimits(timeout_s=timeout_s, batch_tokens=1)
    batcher = Batcher([engine.generate], limits, called=lambda _sources, _tokens: None)
    engine.released.set()
    (first,) = batcher.submit(ROW, SETTINGS, seeded=False)
    assert first.result(60)[0].text == "text"
    engine.released.clear()
    accepted = batcher.submit(ROW, SETTINGS, seeded=False)
    for _ in range(2):
        engine.called.acquire()
    accepted += batcher.submit(ROW, SETTINGS, seeded=False)  # an empty queue accepts any source
    try:
        if refused:
            with pytest.raises(QueueFull, match="1 sources wait already; try again later"):
                batcher.submit(ROW, SETTINGS, seeded=False)
        else:
            accepted += batcher.submit(ROW, SETTINGS, seeded=False)
    finally:
        engine.released.set()
        batcher.close()

    assert [future.result(60)[0].text for future in accepted] == ["text"] * (2 if refused else 3)
