"""Which texts a round of training teaches: a pure function of (seed, round).

An epoch teaches every input once (`targets_per_source` texts of it); a round is a part of an epoch, at whose start
the student may write anew. The plan is the resume state: nothing of it needs to be saved.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from understudy.errors import DataError, PoolError
from understudy.pool.token_arrays import Ints, Targets, TokenArrays
from understudy.records import TextGenerator
from understudy.training.schedules import StudentShare


class TrainItem(NamedTuple):
    """Texts of one source that are taught together, so that they share an encoder pass."""

    source: int
    generator: TextGenerator
    rows: tuple[int, ...]
    """Of the generator's texts. For the student's: which of the texts it will write for this source."""


@dataclass(frozen=True)
class Mixture:
    """Sources, the targets that exist before training, and how much of each is wanted.

    `shares` are proportions of gold, teacher and student; where gold stands alone, an epoch is all gold targets.
    `inputs` are the sources that pseudo-targets are for.
    """

    sources: TokenArrays
    targets: Mapping[TextGenerator, Targets]
    shares: Mapping[TextGenerator, float]
    inputs: Ints
    targets_per_source: int = 1
    rounds_per_epoch: int = 1
    student_from_round: int = 0
    """Before this round the teacher's texts stand in for the student's."""
    student_share: StudentShare | None = None
    """How the share of the student's texts changes; None: it does not."""
    teacher_sources: TokenArrays | None = None
    """The sources as the teacher reads them; None: as the student does."""

    @property
    def teacher_reading_sources(self) -> TokenArrays:
        """The sources as the teacher reads them, whichever they are."""
        return self.sources if self.teacher_sources is None else self.teacher_sources


def plan_round(mixture: Mixture, *, number: int, seed: int, student_share: float | None = None) -> list[TrainItem]:
    """The lessons of round `number` (from 0), in random order.

    Within an epoch the rounds share out its lessons; over epochs the targets of a source take turns, as epoch e of
    the paper trains on the (e mod K)-th of K pseudo-targets (Calderon et al. 2023, section 5.2). Where the student's
    share is given, the epoch has as many lessons as inputs: so many of the student, the rest of gold and teacher.
    """
    epoch, part = divmod(number, mixture.rounds_per_epoch)
    rng = np.random.default_rng((seed, epoch))
    if student_share is None:
        lessons = [*_pseudo_target_lessons(mixture, epoch, number, rng), *_gold_lessons(mixture, epoch, seed)]
    else:
        lessons = _lessons_by_share(mixture, epoch, seed, rng, student_share)
    order = rng.permutation(len(lessons))
    mine = np.array_split(order, mixture.rounds_per_epoch)[part]
    return [lessons[i] for i in mine]


def _pseudo_target_lessons(mixture: Mixture, epoch: int, number: int, rng: np.random.Generator) -> list[TrainItem]:
    teacher, student = mixture.shares.get("teacher", 0.0), mixture.shares.get("student", 0.0)
    if teacher + student == 0:
        return []
    if (epoch + 1) * mixture.rounds_per_epoch <= mixture.student_from_round:
        teacher, student = teacher + student, 0.0
    order = rng.permutation(mixture.inputs).tolist()
    cut = round(len(order) * teacher / (teacher + student))
    # An epoch's rounds share out one order, also where the student begins in its midst.
    if number >= mixture.student_from_round:
        texts = tuple(range(mixture.targets_per_source))
        lessons = [TrainItem(source, "student", texts) for source in order[cut:]]
    else:
        lessons = [_teacher_lesson(mixture, source, epoch) for source in order[cut:]]
    return lessons + [_teacher_lesson(mixture, source, epoch) for source in order[:cut]]


def _lessons_by_share(
    mixture: Mixture, epoch: int, seed: int, rng: np.random.Generator, student_share: float
) -> list[TrainItem]:
    gold, teacher = mixture.shares.get("gold", 0.0), mixture.shares.get("teacher", 0.0)
    order = rng.permutation(mixture.inputs).tolist()
    own = round(len(order) * student_share)
    others = len(order) - own
    of_teacher = round(others * teacher / (gold + teacher))
    return [
        *(TrainItem(source, "student", tuple(range(mixture.targets_per_source))) for source in order[:own]),
        *(_teacher_lesson(mixture, source, epoch) for source in order[own : own + of_teacher]),
        *_gold_turns(mixture, start=epoch * len(order), count=others - of_teacher, seed=seed),
    ]


def _teacher_lesson(mixture: Mixture, source: int, epoch: int) -> TrainItem:
    rows, k = mixture.targets["teacher"].rows(source), mixture.targets_per_source
    if not rows:
        raise PoolError(
            f"source {source} is to learn the teacher's text, but the pool has none for it; let the teacher write "
            "for all inputs that pseudo-targets are for"
        )
    turns = dict.fromkeys(rows[(epoch * k + j) % len(rows)] for j in range(k))
    return TrainItem(source, "teacher", tuple(turns))


def _gold_lessons(mixture: Mixture, epoch: int, seed: int) -> list[TrainItem]:
    if not mixture.shares.get("gold", 0.0):
        return []
    gold, k = _gold(mixture), mixture.targets_per_source
    others = mixture.shares.get("teacher", 0.0) + mixture.shares.get("student", 0.0)
    if others == 0:
        pseudo_target_rows = {source: gold.rows(source) for source in range(len(gold.counts))}
        return [
            TrainItem(source, "gold", tuple(rows[start : start + k]))
            for source, rows in pseudo_target_rows.items()
            for start in range(0, len(rows), k)
        ]
    wanted = round(len(mixture.inputs) * mixture.shares["gold"] / others)
    return _gold_turns(mixture, start=epoch * wanted, count=wanted, seed=seed)


def _gold_turns(mixture: Mixture, *, start: int, count: int, seed: int) -> list[TrainItem]:
    if not count:
        return []
    gold = _gold(mixture)
    source_of = np.repeat(np.arange(len(gold.counts)), gold.counts).tolist()
    rows = _turns(len(source_of), start=start, count=count, seed=seed)
    return [TrainItem(source_of[row], "gold", (row,)) for row in rows.tolist()]


def _gold(mixture: Mixture) -> Targets:
    gold = mixture.targets["gold"]
    if not len(gold.texts):
        raise DataError("gold has a share of the targets, but no source has a gold target; give labelled examples")
    return gold


def _turns(n: int, *, start: int, count: int, seed: int) -> Ints:
    """Entries [start, start + count) of an endless row of shuffles of 0..n-1: all take part equally often."""
    passes = range(start // n, (start + count - 1) // n + 1) if count else range(0)
    shuffles = [np.random.default_rng((seed, n, number)).permutation(n) for number in passes]
    row = np.concatenate(shuffles) if shuffles else np.empty(0, np.int64)
    return row[start - n * (start // n) :][:count]
