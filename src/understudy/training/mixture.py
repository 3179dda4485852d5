"""The training mixture, and the plan of each round: a pure function of (seed, round).

An epoch contains every input once (`targets_per_source` texts of it); a round is a part of an epoch, at whose start
new student samples may be generated. Because the plan can be computed again, a checkpoint does not store it.
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
    """One source and its k target rows, which share an encoder pass."""

    source: int
    generator: TextGenerator
    rows: tuple[int, ...]
    """Rows of the generator's texts. For student samples: which of the samples to generate for this source."""


@dataclass(frozen=True)
class Mixture:
    """Sources, the targets that exist before training, and the share of each generator.

    `shares` are proportions of gold, teacher and student; with gold alone, an epoch is all gold targets.
    `inputs` are the sources with pseudo-targets.
    """

    sources: TokenArrays
    targets: Mapping[TextGenerator, Targets]
    shares: Mapping[TextGenerator, float]
    inputs: Ints
    targets_per_source: int = 1
    rounds_per_epoch: int = 1
    student_from_round: int = 0
    """Before this round, teacher texts replace the student samples."""
    student_share: StudentShare | None = None
    """How the share of student samples changes during training; None: it is constant."""
    teacher_sources: TokenArrays | None = None
    """The sources in the teacher's encoding; None: the same as the student's."""

    @property
    def sources_for_teacher(self) -> TokenArrays:
        """The sources in the teacher's encoding, also where it is the student's."""
        return self.sources if self.teacher_sources is None else self.teacher_sources


def plan_round(mixture: Mixture, *, number: int, seed: int, student_share: float | None = None) -> list[TrainItem]:
    """The items of round `number` (from 0), in random order.

    The rounds of an epoch divide its items among them. Over epochs the targets of a source alternate, as epoch e of
    the paper trains on the (e mod K)-th of K pseudo-targets (Calderon et al. 2023, section 5.2). With `student_share`,
    an epoch has as many items as inputs: this share are student samples, the rest is divided between gold and teacher.
    """
    epoch, part = divmod(number, mixture.rounds_per_epoch)
    rng = np.random.default_rng((seed, epoch))
    if student_share is None:
        items = [*_pseudo_target_items(mixture, epoch, number, rng), *_gold_items(mixture, epoch, seed)]
    else:
        items = _items_by_share(mixture, epoch, seed, rng, student_share)
    order = rng.permutation(len(items))
    return [items[i] for i in np.array_split(order, mixture.rounds_per_epoch)[part]]


def _pseudo_target_items(mixture: Mixture, epoch: int, number: int, rng: np.random.Generator) -> list[TrainItem]:
    teacher, student = mixture.shares.get("teacher", 0.0), mixture.shares.get("student", 0.0)
    if teacher + student == 0:
        return []
    if (epoch + 1) * mixture.rounds_per_epoch <= mixture.student_from_round:
        teacher, student = teacher + student, 0.0
    order = rng.permutation(mixture.inputs).tolist()
    split = round(len(order) * teacher / (teacher + student))
    # The rounds of an epoch divide one order, also where student samples begin in the middle of the epoch.
    if number >= mixture.student_from_round:
        samples = tuple(range(mixture.targets_per_source))
        items = [TrainItem(source, "student", samples) for source in order[split:]]
    else:
        items = [_teacher_item(mixture, source, epoch) for source in order[split:]]
    return items + [_teacher_item(mixture, source, epoch) for source in order[:split]]


def _items_by_share(
    mixture: Mixture, epoch: int, seed: int, rng: np.random.Generator, student_share: float
) -> list[TrainItem]:
    gold, teacher = mixture.shares.get("gold", 0.0), mixture.shares.get("teacher", 0.0)
    order = rng.permutation(mixture.inputs).tolist()
    n_student = round(len(order) * student_share)
    n_others = len(order) - n_student
    n_teacher = round(n_others * teacher / (gold + teacher))
    return [
        *(TrainItem(source, "student", tuple(range(mixture.targets_per_source))) for source in order[:n_student]),
        *(_teacher_item(mixture, source, epoch) for source in order[n_student : n_student + n_teacher]),
        *_gold_slice(mixture, start=epoch * len(order), count=n_others - n_teacher, seed=seed),
    ]


def _teacher_item(mixture: Mixture, source: int, epoch: int) -> TrainItem:
    rows, k = mixture.targets["teacher"].rows(source), mixture.targets_per_source
    if not rows:
        raise PoolError(
            f"source {source} needs a pseudo-target, but the pool has none for it; generate pseudo-targets for all "
            "inputs that train on them"
        )
    distinct = dict.fromkeys(rows[(epoch * k + j) % len(rows)] for j in range(k))
    return TrainItem(source, "teacher", tuple(distinct))


def _gold_items(mixture: Mixture, epoch: int, seed: int) -> list[TrainItem]:
    if not mixture.shares.get("gold", 0.0):
        return []
    gold, k = _gold(mixture), mixture.targets_per_source
    others = mixture.shares.get("teacher", 0.0) + mixture.shares.get("student", 0.0)
    if others == 0:
        rows_by_source = [gold.rows(source) for source in range(len(gold.counts))]
        return [
            TrainItem(source, "gold", tuple(rows[start : start + k]))
            for source, rows in enumerate(rows_by_source)
            for start in range(0, len(rows), k)
        ]
    count = round(len(mixture.inputs) * mixture.shares["gold"] / others)
    return _gold_slice(mixture, start=epoch * count, count=count, seed=seed)


def _gold_slice(mixture: Mixture, *, start: int, count: int, seed: int) -> list[TrainItem]:
    if not count:
        return []
    gold = _gold(mixture)
    source_of = np.repeat(np.arange(len(gold.counts)), gold.counts).tolist()
    rows = _shuffled_slice(len(source_of), start=start, count=count, seed=seed)
    return [TrainItem(source_of[row], "gold", (row,)) for row in rows.tolist()]


def _gold(mixture: Mixture) -> Targets:
    gold = mixture.targets["gold"]
    if not len(gold.texts):
        raise DataError("the mixture has a share of gold targets, but no source has one; add labeled examples")
    return gold


def _shuffled_slice(n: int, *, start: int, count: int, seed: int) -> Ints:
    """Entries [start, start + count) of an endless sequence of shuffles of 0..n-1, so all are used equally often."""
    first, last = start // n, (start + count - 1) // n
    shuffles = [np.random.default_rng((seed, n, number)).permutation(n) for number in range(first, last + 1)]
    return np.concatenate(shuffles)[start - n * first :][:count]
