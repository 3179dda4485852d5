"""The student of a server: sources become token ids, wait for an engine, and are answered."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from understudy.serving.admission import Admission
from understudy.serving.batching import Batcher, QueueFull
from understudy.serving.deployment import Answering
from understudy.serving.drift import BYTE_TOKENS, CONFIDENCE, TEXT_TOKENS, Drift
from understudy.serving.limits import ServerLimits
from understudy.serving.metrics import ServerMetrics
from understudy.serving.requests import RefusedRequest, TextRequest
from understudy.serving.responses import AnsweredSource, up_to_stop

SHORT_SOURCES = 2_000
"""Characters that are encoded on the event loop, in about a millisecond."""


class StudentQueue:
    """One deployment with its queue."""

    def __init__(
        self, answerings: Sequence[Answering], limits: ServerLimits, metrics: ServerMetrics, drift: Drift
    ) -> None:
        """Starts the threads of the queue, one for each open engine."""
        self.batcher = Batcher([one.texts for one in answerings], limits, called=self._called)
        self._admission = Admission(limits.timeout_s)
        self.evaluated = answerings[0].evaluated
        self.key = answerings[0].deployment.key
        self._answering = answerings[0]
        self._metrics = metrics
        self._drift = drift
        # Long texts take longer to encode than the event loop may be blocked; short ones do not wait for them.
        self._encoder = ThreadPoolExecutor(1, "encoder")

    def close(self) -> None:
        """Ends the threads after what was accepted is answered."""
        self.batcher.close()
        self._encoder.shutdown()

    def refuse_late(self) -> None:
        """Checks that a request that comes now can be answered in time.

        Raises:
            QueueFull: if the queue is full, or if its end is expected too late.
        """
        self.batcher.refuse_full()
        if self._admission.is_late:
            raise QueueFull(f"{self._admission.open} requests wait already; try again later")

    async def answers(self, wanted: TextRequest) -> list[AnsweredSource]:
        """The student's texts for each source.

        Raises:
            RefusedRequest: with status 400 for a source that is too long.
            QueueFull: if there is no room for the sources.
        """
        with self._admission.answering():
            return await self._answers(wanted)

    async def _answers(self, wanted: TextRequest) -> list[AnsweredSource]:
        if sum(map(len, wanted.sources)) <= SHORT_SOURCES:
            rows = self._answering.encode(wanted.sources)
        else:
            loop = asyncio.get_running_loop()
            rows = await loop.run_in_executor(self._encoder, self._answering.encode, wanted.sources)
        for row in rows:
            if (reason := self._answering.refusal(row)) is not None:
                raise RefusedRequest(400, reason, code="context_length_exceeded")
        futures = self.batcher.submit(rows, wanted.settings, seeded=wanted.seeded)
        self._metrics.waiting.set(self.batcher.waiting)
        several = await asyncio.gather(*map(asyncio.wrap_future, futures))
        found = []
        for row, texts in zip(rows, several, strict=True):
            answers = tuple(up_to_stop(answer, wanted.stop) for answer in texts)
            tokens = sum(answer.tokens for answer in answers)
            self._metrics.text_tokens.inc(tokens)
            for answer in answers:
                self._metrics.confidence.observe(answer.confidence)
            lowest = min(answer.confidence for answer in answers)
            found.append(AnsweredSource(answers, len(row), tokens, confidence=lowest))
            self._watch(row, found[-1], wanted)
        return found

    def _watch(self, row: Sequence[int], found: AnsweredSource, wanted: TextRequest) -> None:
        self._drift.observe(BYTE_TOKENS, self._answering.byte_share(row))
        own = wanted.settings
        # Sampled or shortened texts differ from those of dev whatever the source is.
        if (own.decoding, own.max_tokens, own.per_source) == (
            self.evaluated.decoding,
            self.evaluated.max_tokens,
            self.evaluated.per_source,
        ):
            self._drift.observe(CONFIDENCE, found.answers[0].confidence)
            self._drift.observe(TEXT_TOKENS, found.answers[0].tokens)

    def _called(self, sources: int, tokens: int) -> None:
        self._metrics.called(sources, tokens)
        self._metrics.waiting.set(self.batcher.waiting)
