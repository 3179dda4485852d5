"""Which texts a round of training teaches: a pure function of (seed, round).

An epoch teaches every input once (`targets_per_source` texts of it); a round is a part of an epoch, at whose start
the student may write anew. The plan is the resume state: nothing of it needs to be saved.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from understudy.records import Generator
from understudy.training.texts import Ints, Targets, Texts


class Lesson(NamedTuple):
    """Texts of one source that are taught together, so that they share an encoder pass."""

    source: int
    generator: Generator
    rows: tuple[int, ...]
    """Of the generator's texts. For the student's: which of the texts it will write for this source."""


@dataclass(frozen=True)
class Mixture:
    """Sources, the targets that exist before training, and how much of each is wanted.

    `shares` are proportions of gold, teacher and student; where gold stands alone, an epoch is all gold targets.
    `inputs` are the sources that pseudo-targets are for.
    """

    sources: Texts
    targets: Mapping[Generator, Targets]
    shares: Mapping[Generator, float]
    inputs: Ints
    targets_per_source: int = 1
    rounds_per_epoch: int = 1
    student_from_round: int = 0
    """Before this round the teacher's texts stand in for the student's."""
    teacher_sources: Texts | None = None
    """The sources as the teacher reads them; None: as the student does."""


def plan_round(mixture: Mixture, *, number: int, seed: int) -> list[Lesson]:
    """The lessons of round `number` (from 0), in random order.

    Within an epoch the rounds share out its lessons; over epochs the targets of a source take turns, as epoch e of
    the paper trains on the (e mod K)-th of K pseudo-targets (Calderon et al. 2023, section 5.2).
    """
    epoch, part = divmod(number, mixture.rounds_per_epoch)
    rng = np.random.default_rng((seed, epoch))
    lessons = [*_pseudo_target_lessons(mixture, epoch, number, rng), *_gold_lessons(mixture, epoch, seed)]
    order = rng.permutation(len(lessons))
    mine = np.array_split(order, mixture.rounds_per_epoch)[part]
    return [lessons[i] for i in mine]


def _pseudo_target_lessons(mixture: Mixture, epoch: int, number: int, rng: np.random.Generator) -> list[Lesson]:
    teacher, student = mixture.shares.get("teacher", 0.0), mixture.shares.get("student", 0.0)
    if teacher + student == 0:
        return []
    if number < mixture.student_from_round:
        teacher, student = teacher + student, 0.0
    k = mixture.targets_per_source
    order = rng.permutation(mixture.inputs)
    by_teacher = round(len(order) * teacher / (teacher + student))
    lessons = [Lesson(int(source), "student", tuple(range(k))) for source in order[by_teacher:]]
    if by_teacher:
        first, counts = mixture.targets["teacher"].first, mixture.targets["teacher"].counts
        for source in order[:by_teacher]:
            turns = dict.fromkeys((epoch * k + j) % counts[source] for j in range(k))
            lessons.append(Lesson(int(source), "teacher", tuple(int(first[source] + turn) for turn in turns)))
    return lessons


def _gold_lessons(mixture: Mixture, epoch: int, seed: int) -> list[Lesson]:
    if not mixture.shares.get("gold", 0.0):
        return []
    first, counts = mixture.targets["gold"].first, mixture.targets["gold"].counts
    others = mixture.shares.get("teacher", 0.0) + mixture.shares.get("student", 0.0)
    if others == 0:
        k = mixture.targets_per_source
        starts = [(s, row) for s in np.flatnonzero(counts) for row in range(first[s], first[s + 1], k)]
        return [Lesson(int(s), "gold", tuple(range(row, min(row + k, int(first[s + 1]))))) for s, row in starts]
    wanted = round(len(mixture.inputs) * mixture.shares["gold"] / others)
    source_of = np.repeat(np.arange(len(counts)), counts)
    rows = _turns(len(source_of), start=epoch * wanted, count=wanted, seed=seed)
    return [Lesson(int(source_of[row]), "gold", (int(row),)) for row in rows]


def _turns(n: int, *, start: int, count: int, seed: int) -> Ints:
    """Entries [start, start + count) of an endless row of shuffles of 0..n-1: all take part equally often."""
    passes = range(start // n, (start + count - 1) // n + 1) if count else range(0)
    shuffles = [np.random.default_rng((seed, n, number)).permutation(n) for number in passes]
    row = np.concatenate(shuffles) if shuffles else np.empty(0, np.int64)
    return row[start - n * (start // n) :][:count]
