"""The training mixture, and the plan of each round: a pure function of (seed, round).

An epoch contains every input once (`targets_per_source` texts of it); a round is a part of an epoch, at whose start
new student samples may be generated. Because the plan can be computed again, a checkpoint does not store it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from understudy.errors import DataError, PoolError
from understudy.pool.token_arrays import Ints, Targets, TokenArrays, ranges
from understudy.records import TextGenerator
from understudy.training.items import TrainItems
from understudy.training.schedules import StudentShare


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


def plan_round(mixture: Mixture, *, number: int, seed: int, student_share: float | None = None) -> TrainItems:
    """The items of round `number` (from 0), in random order.

    The rounds of an epoch divide its items among them. Over epochs the targets of a source alternate, as epoch e of
    the paper trains on the (e mod K)-th of K pseudo-targets (Calderon et al. 2023, section 5.2). With `student_share`,
    an epoch has as many items as inputs: this share are student samples, the rest is divided between gold and teacher.
    """
    epoch, part = divmod(number, mixture.rounds_per_epoch)
    rng = np.random.default_rng((seed, epoch))
    if student_share is None:
        parts = [*_pseudo_target_items(mixture, epoch, number, rng), *_gold_items(mixture, epoch, seed)]
    else:
        parts = _items_by_share(mixture, epoch, seed, rng, student_share)
    items = TrainItems.joined(*parts)
    order = rng.permutation(len(items))
    return items.take(np.array_split(order, mixture.rounds_per_epoch)[part])


def _pseudo_target_items(mixture: Mixture, epoch: int, number: int, rng: np.random.Generator) -> list[TrainItems]:
    teacher, student = mixture.shares.get("teacher", 0.0), mixture.shares.get("student", 0.0)
    if teacher + student == 0:
        return []
    if (epoch + 1) * mixture.rounds_per_epoch <= mixture.student_from_round:
        teacher, student = teacher + student, 0.0
    order = rng.permutation(mixture.inputs)
    split = round(len(order) * teacher / (teacher + student))
    # The rounds of an epoch divide one order, also where student samples begin in the middle of the epoch.
    if number >= mixture.student_from_round:
        first = _student_items(mixture, order[split:])
    else:
        first = _teacher_items(mixture, order[split:], epoch)
    return [first, _teacher_items(mixture, order[:split], epoch)]


def _items_by_share(
    mixture: Mixture, epoch: int, seed: int, rng: np.random.Generator, student_share: float
) -> list[TrainItems]:
    gold, teacher = mixture.shares.get("gold", 0.0), mixture.shares.get("teacher", 0.0)
    order = rng.permutation(mixture.inputs)
    n_student = round(len(order) * student_share)
    n_others = len(order) - n_student
    n_teacher = round(n_others * teacher / (gold + teacher))
    return [
        _student_items(mixture, order[:n_student]),
        _teacher_items(mixture, order[n_student : n_student + n_teacher], epoch),
        *_gold_slice(mixture, start=epoch * len(order), count=n_others - n_teacher, seed=seed),
    ]


def _student_items(mixture: Mixture, sources: Ints) -> TrainItems:
    k = mixture.targets_per_source
    return TrainItems.of_one("student", sources, np.tile(np.arange(k), len(sources)), np.full(len(sources), k))


def _teacher_items(mixture: Mixture, sources: Ints, epoch: int) -> TrainItems:
    if not len(sources):
        return TrainItems.of(())
    targets, k = mixture.targets["teacher"], mixture.targets_per_source
    first, available = targets.first[sources], targets.counts[sources]
    if not available.all():
        raise PoolError(
            f"source {sources[available == 0][0]} needs a pseudo-target, but the pool has none for it; generate "
            "pseudo-targets for all inputs that train on them"
        )
    counts = np.minimum(available, k)
    turns = ranges(np.zeros(len(sources), np.int64), counts)
    rows = np.repeat(first, counts) + (epoch * k + turns) % np.repeat(available, counts)
    return TrainItems.of_one("teacher", sources, rows, counts)


def _gold_items(mixture: Mixture, epoch: int, seed: int) -> list[TrainItems]:
    if not mixture.shares.get("gold", 0.0):
        return []
    gold, k = _gold(mixture), mixture.targets_per_source
    others = mixture.shares.get("teacher", 0.0) + mixture.shares.get("student", 0.0)
    if others == 0:
        items = -(-gold.counts // k)
        sources = np.repeat(np.arange(len(items)), items)
        starts = k * ranges(np.zeros(len(items), np.int64), items)
        rows = np.arange(gold.first[0], gold.first[-1])
        return [TrainItems.of_one("gold", sources, rows, np.minimum(gold.counts[sources] - starts, k))]
    count = round(len(mixture.inputs) * mixture.shares["gold"] / others)
    return _gold_slice(mixture, start=epoch * count, count=count, seed=seed)


def _gold_slice(mixture: Mixture, *, start: int, count: int, seed: int) -> list[TrainItems]:
    if not count:
        return []
    gold = _gold(mixture)
    source_of = np.repeat(np.arange(len(gold.counts)), gold.counts)
    rows = _shuffled_slice(len(source_of), start=start, count=count, seed=seed)
    return [TrainItems.of_one("gold", source_of[rows], rows, np.ones(count, np.int64))]


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
