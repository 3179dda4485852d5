"""Which system answers a source: the student, or the teacher's endpoint where the student is not sure enough.

Where the endpoint does not answer, the student's text is returned: a client gets an error only for what the student
cannot answer either.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from understudy.api_teacher.client import open_client
from understudy.serving.confidence import Calibration
from understudy.serving.drift import DEFERRED, Drift
from understudy.serving.ledger import Ledger
from understudy.serving.limits import ServerLimits
from understudy.serving.metrics import ServerMetrics
from understudy.serving.responses import AnsweredSource
from understudy.serving.shadow import Shadow, ShadowSettings
from understudy.serving.student import StudentQueue
from understudy.serving.upstream import Asked, TeacherClient, TeacherFailed, TeacherReply, TeacherSettings

LEDGER_FILE = "ledger.sqlite"


@dataclass(frozen=True)
class Deferral:
    """When the student is sure enough."""

    threshold: float
    """Sources whose probability is below it are deferred."""
    calibration: Calibration | None = None
    """Turns a confidence into a probability; None compares the confidence itself."""
    note: str = ""
    """What the threshold gives on dev, for the user."""

    def probability(self, confidence: float) -> float:
        """What is compared with the threshold."""
        return confidence if self.calibration is None else self.calibration.probability(confidence)

    def defers(self, confidence: float) -> bool:
        """Whether the teacher's endpoint is to answer."""
        return self.probability(confidence) < self.threshold


@dataclass(frozen=True)
class UpstreamSettings:
    """A teacher's endpoint behind the server, and what it is used for."""

    teacher: TeacherSettings
    deferral: Deferral | None = None
    shadow: ShadowSettings | None = None

    def shared(self, folder: Path) -> "UpstreamSettings":
        """The settings with a ledger that several processes share, if they have none."""
        own = self.teacher
        return replace(self, teacher=replace(own, ledger=own.ledger or folder / LEDGER_FILE))


class Router:
    """Answers the sources of requests with student and teacher."""

    def __init__(
        self,
        student: StudentQueue,
        teacher: TeacherClient,
        settings: UpstreamSettings,
        drift: Drift,
        shadow: Shadow | None,
    ) -> None:
        """Made by `open_router`."""
        self.shadow = shadow
        self._student = student
        self._teacher = teacher
        self._deferral = settings.deferral
        self._drift = drift

    @property
    def student_first(self) -> bool:
        """Whether no source is answered without the student."""
        return self.shadow is None or self.shadow.settings.answers == "student"

    async def answers(self, asked: Asked) -> list[AnsweredSource]:
        """The texts for each source of a request.

        Raises:
            RefusedRequest: as `StudentQueue.answers`.
            QueueFull: as `StudentQueue.answers`.
        """
        if self.shadow is not None and not self.student_first:
            return await self._by_teacher(asked, self.shadow)
        own = await self._student.answers(asked.wanted)
        if self._deferral is not None:
            own = await self._deferred(asked, own, self._deferral)
        if self.shadow is not None and self.shadow.chosen():
            self._compare(asked, own, self.shadow)
        return own

    async def _by_teacher(self, asked: Asked, shadow: Shadow) -> list[AnsweredSource]:
        """Before the switch: the teacher answers, the student where it fails."""
        wanted = asked.wanted
        indices = range(len(wanted.sources))
        replies = await self._replies(asked, indices)
        if any(isinstance(reply, TeacherFailed) for reply in replies.values()):
            return self._merged(await self._student.answers(wanted), replies)
        nothing = [AnsweredSource((), 0, 0) for _ in indices]
        answered = self._merged(nothing, replies)
        if shadow.chosen():
            shown = [source.answers[0].text for source in answered]
            shadow.start(asked.id, wanted.sources, shown, self._students_texts(asked))
        return answered

    async def _deferred(self, asked: Asked, own: list[AnsweredSource], deferral: Deferral) -> list[AnsweredSource]:
        unsure = [index for index, source in enumerate(own) if deferral.defers(source.confidence or 0.0)]
        for index in range(len(own)):
            self._drift.observe(DEFERRED, float(index in unsure))
        return self._merged(own, await self._replies(asked, unsure))

    async def _replies(self, asked: Asked, indices: Iterable[int]) -> dict[int, TeacherReply | TeacherFailed]:
        """The teacher's reply for some of the sources, or why there is none."""

        async def reply(index: int) -> TeacherReply | TeacherFailed:
            try:
                return await self._teacher.reply(asked, index)
            except TeacherFailed as failed:
                return failed

        chosen = list(indices)
        return dict(zip(chosen, await asyncio.gather(*map(reply, chosen)), strict=True))

    def _merged(
        self, own: Sequence[AnsweredSource], replies: Mapping[int, TeacherReply | TeacherFailed]
    ) -> list[AnsweredSource]:
        """The student's answers with the teacher's in place of those that it was asked for."""
        merged = list(own)
        for index, reply in replies.items():
            before = own[index]
            if isinstance(reply, TeacherFailed):
                merged[index] = replace(before, failure=reply.reason)
                continue
            merged[index] = AnsweredSource(
                reply.answers,
                before.source_tokens if reply.source_tokens is None else reply.source_tokens,
                before.text_tokens if reply.text_tokens is None else reply.text_tokens,
                answered_by="teacher",
                confidence=before.confidence,
            )
        return merged

    def _compare(self, asked: Asked, answered: Sequence[AnsweredSource], shadow: Shadow) -> None:
        """Has the teacher answer what the student answered."""
        indices = [index for index, source in enumerate(answered) if source.answered_by == "student"]
        # What the endpoint has just failed to answer is not sent again.
        indices = [index for index in indices if not answered[index].failure]
        if not indices:
            return
        later = replace(asked, until=math.inf)  # nobody waits for it

        async def texts() -> list[str]:
            replies = await asyncio.gather(*(self._teacher.reply(later, index) for index in indices))
            return [reply.answers[0].text for reply in replies]

        sources = [asked.wanted.sources[index] for index in indices]
        shadow.start(asked.id, sources, [answered[index].answers[0].text for index in indices], texts())

    async def _students_texts(self, asked: Asked) -> list[str]:
        return [source.answers[0].text for source in await self._student.answers(asked.wanted)]


@asynccontextmanager
async def open_router(
    student: StudentQueue,
    settings: UpstreamSettings,
    drift: Drift,
    limits: ServerLimits,
    metrics: ServerMetrics,
    *,
    log_texts: bool,
) -> AsyncIterator[Router]:
    """A router with its client of the teacher's endpoint; at the end of the context its shadow answers are finished.

    Raises:
        GenerationError: if the key of the endpoint is missing.
    """
    ledger = Ledger(settings.teacher.ledger, student.key)
    metrics.count_with(ledger)
    try:
        async with open_client(settings.teacher.endpoint) as client:
            teacher = TeacherClient(client, settings.teacher, ledger, limits, metrics)
            shadow = Shadow(settings.shadow, ledger, limits, metrics, log_texts=log_texts) if settings.shadow else None
            yield Router(student, teacher, settings, drift, shadow)
            if shadow is not None:
                await shadow.finish()
    finally:
        ledger.close()
