"""Shadow answers: on a share of the requests the other system answers too, and the agreement of the two is counted.

No client waits for it, and what fails there is counted and forgotten. The score of a pair is the chrF of the student's
text against the teacher's, and whether they are equal.
"""

import asyncio
import json
import logging
import random
from collections.abc import Coroutine, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from understudy.evaluation.metrics import SystemOutputs, metric_named, tally
from understudy.records import Prediction
from understudy.serving.batching import QueueFull
from understudy.serving.ledger import Ledger
from understudy.serving.limits import ServerLimits
from understudy.serving.metrics import ServerMetrics
from understudy.serving.records import AnsweredBy
from understudy.serving.requests import RefusedRequest
from understudy.serving.upstream import TeacherFailed

SHADOW_LOG = logging.getLogger("understudy.shadow")


@dataclass(frozen=True)
class ShadowSettings:
    """Which system answers, and on which share of the requests the other one answers too."""

    share: float
    answers: AnsweredBy = "teacher"
    """The system whose texts clients get: the teacher before the switch, the student after it."""
    out: Path | None = None
    """File of the agreement, written when the server ends."""


class Shadow:
    """The tasks that no client waits for, and what they count."""

    def __init__(
        self, settings: ShadowSettings, ledger: Ledger, limits: ServerLimits, metrics: ServerMetrics, *, log_texts: bool
    ) -> None:
        """For the event loop that answers requests.

        Args:
            settings: share and roles.
            ledger: counts pairs.
            limits: `teacher_requests` bounds the tasks, `teacher_s` the time in which they end.
            metrics: count requests without a pair.
            log_texts: whether the texts of low pairs are kept.
        """
        self.settings = settings
        self._ledger = ledger
        self._limits = limits
        self._metrics = metrics
        self._log_texts = log_texts
        self._tasks: set[asyncio.Task[None]] = set()

    def chosen(self) -> bool:
        """Whether the request at hand belongs to the share."""
        return random.random() < self.settings.share

    def start(
        self, name: str, sources: Sequence[str], shown: Sequence[str], other: Coroutine[Any, Any, list[str]]
    ) -> None:
        """Has the other system answer in the background.

        Args:
            name: id of the request.
            sources: of the request.
            shown: for each source the text that the client gets.
            other: the other system's texts.
        """
        if len(self._tasks) >= self._limits.teacher_requests:
            other.close()
            self._metrics.upstream.shadow_skipped.inc()
            return
        task = asyncio.create_task(self._pairs(name, sources, shown, other))
        self._tasks.add(task)  # the loop alone would not keep it
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Waits for the tasks and writes the agreement."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._limits.teacher_s)
            for task in late:
                task.cancel()
        found = self.report()
        SHADOW_LOG.info(json.dumps({"shadow": {name: value for name, value in found.items() if name != "latest_low"}}))
        if self.settings.out is not None:
            try:
                self.settings.out.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            except OSError as error:
                SHADOW_LOG.error("ERROR: the agreement cannot be written: %s", error)

    def report(self) -> dict[str, Any]:
        """The agreement so far, with what it was computed from."""
        return {"answers": self.settings.answers, "share": self.settings.share, **asdict(self._ledger.agreement())}

    async def _pairs(
        self, name: str, sources: Sequence[str], shown: Sequence[str], other: Coroutine[Any, Any, list[str]]
    ) -> None:
        try:
            found = await other
        except (TeacherFailed, QueueFull, RefusedRequest):
            self._metrics.upstream.shadow_skipped.inc()
            return
        except Exception:  # noqa: BLE001 - nobody awaits the task; the log has it
            self._metrics.upstream.shadow_skipped.inc()
            SHADOW_LOG.exception("a shadow answer failed")
            return
        student, teacher = (found, shown) if self.settings.answers == "teacher" else (shown, found)
        for source, own, reference in zip(sources, student, teacher, strict=True):
            exact, chrf = await asyncio.to_thread(pair_scores, own, reference)
            texts = {"source": source, "student": own, "teacher": reference} if self._log_texts else None
            self._ledger.add_pair(name, chrf, exact=exact, texts=texts)


def pair_scores(student: str, teacher: str) -> tuple[bool, float]:
    """Whether the texts are equal, and the chrF of the student's against the teacher's, from 0 to 100."""
    outputs = SystemOutputs([Prediction("pair", "", (teacher,), student)])
    exact, chrf = (tally(metric_named(name), outputs).value() for name in ("exact_match", "chrf"))
    return exact > 0, chrf
