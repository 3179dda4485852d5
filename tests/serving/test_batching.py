"""When a batch waits for further sources."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from understudy.config.decoding import Greedy
from understudy.serving.batching import Batcher
from understudy.serving.deployment import Answer, TextSettings
from understudy.serving.limits import ServerLimits

SETTINGS = TextSettings(Greedy(), max_tokens=1)
FULL, HALF = (1, 2), (1,)
"""Sources with all of the tokens of a batch, and with half of them."""


@contextmanager
def batcher(batches: list[int]) -> Iterator[Batcher]:
    """A queue whose sources wait for an hour, with an engine that notes the size of each batch."""

    def generate(rows: Sequence[Sequence[int]], _settings: TextSettings) -> list[tuple[Answer, ...]]:
        batches.append(len(rows))
        return [()] * len(rows)

    limits = ServerLimits(batch_tokens=len(FULL), batch_wait_ms=3_600_000)
    opened = Batcher([generate], limits, called=lambda _sources, _tokens: None)
    yield opened
    opened.close()


def test_a_source_that_comes_after_one_alone_does_not_wait() -> None:
    """The batch is not full and an hour has not passed, but the one before it had a single source too."""
    batches: list[int] = []
    with batcher(batches) as queue:
        for row in (FULL, HALF, HALF):
            (answered,) = queue.submit([row], SETTINGS, seeded=False)
            assert answered.result(timeout=60) == ()
    assert batches == [1, 1, 1]


def test_a_source_that_comes_after_several_waits_for_others() -> None:
    """The second one completes its batch; of the first one nothing was generated before."""
    batches: list[int] = []
    with batcher(batches) as queue:
        for answered in queue.submit([HALF, HALF], SETTINGS, seeded=False):
            answered.result(timeout=60)
        waiting = [queue.submit([HALF], SETTINGS, seeded=False)[0] for _ in range(2)]
        assert [answered.result(timeout=60) for answered in waiting] == [(), ()]
    assert batches == [2, 2]
