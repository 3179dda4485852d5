"""The training mixture, and the plan of each round: a pure function of (seed, round).

An epoch contains every input once (`targets_per_source` texts of it), or, where that number is `auto`, a k-th of the
inputs with k texts each. A round is a part of an epoch, at whose start new student samples may be generated. Because
the plan can be computed again, a checkpoint does not store it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from understudy.errors import DataError, PoolError
from understudy.pool.token_arrays import Ints, Targets, TokenArrays, offsets_of, ranges
from understudy.records import TextGenerator
from understudy.training.items import TrainItems
from understudy.training.schedules import StudentShare


@dataclass(frozen=True)
class AutoTargets:
    """What `targets_per_source: auto` was resolved from, and the length of the training."""

    epochs: int
    source_tokens: float
    """Mean tokens of a source."""
    target_tokens: float
    """Mean tokens of a target."""
    available: int
    """Texts that an input has."""


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
    auto: AutoTargets | None = None
    """Where set, an epoch has as many targets as with one per source: of k targets per source it uses a k-th of the
    inputs. None: it uses all inputs."""
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
        parts = [*_pseudo_target_items(mixture, epoch, number, seed, rng), *_gold_items(mixture, epoch, seed)]
    else:
        parts = _items_by_share(mixture, epoch, seed, rng, student_share)
    items = TrainItems.joined(*parts)
    order = rng.permutation(len(items))
    return items.take(np.array_split(order, mixture.rounds_per_epoch)[part])


class _Drawn(NamedTuple):
    """The inputs of an epoch: all, or a part of an order that several epochs divide among them."""

    order: Ints
    start: int
    """The place of the first of them in the order that is divided."""
    k: int
    """Targets of each input."""
    turn: int
    """How many targets each input had before."""

    def share(self, share: float, of: float) -> int:
        """How many of these inputs have a share; rounded for the whole order, so that its parts add up."""
        before, end = self.start, self.start + len(self.order)
        return round(end * share / of) - round(before * share / of)


def _drawn(mixture: Mixture, epoch: int, seed: int, rng: np.random.Generator) -> _Drawn:
    k = mixture.targets_per_source
    if mixture.auto is None or not len(mixture.inputs):
        return _Drawn(rng.permutation(mixture.inputs), 0, k, epoch * k)
    first = epoch - epoch % k
    # The last epochs, where fewer than k are left, use fewer targets: each input is used as often as any other.
    k = min(k, mixture.auto.epochs - first)
    order = np.random.default_rng((seed, first, k)).permutation(mixture.inputs)
    parts = np.array_split(order, k)
    return _Drawn(parts[epoch - first], sum(map(len, parts[: epoch - first])), k, first)


def _pseudo_target_items(
    mixture: Mixture, epoch: int, number: int, seed: int, rng: np.random.Generator
) -> list[TrainItems]:
    teacher, student = mixture.shares.get("teacher", 0.0), mixture.shares.get("student", 0.0)
    if teacher + student == 0:
        return []
    if (epoch + 1) * mixture.rounds_per_epoch <= mixture.student_from_round:
        teacher, student = teacher + student, 0.0
    drawn = _drawn(mixture, epoch, seed, rng)
    split = drawn.share(teacher, teacher + student)
    of_teacher, others = drawn.order[:split], drawn.order[split:]
    # The rounds of an epoch divide one order, also where student samples begin in the middle of the epoch.
    if number >= mixture.student_from_round:
        first = _student_items(drawn, others)
    else:
        first = _teacher_items(mixture, drawn, others)
    return [first, _teacher_items(mixture, drawn, of_teacher)]


def _items_by_share(
    mixture: Mixture, epoch: int, seed: int, rng: np.random.Generator, student_share: float
) -> list[TrainItems]:
    gold, teacher = mixture.shares.get("gold", 0.0), mixture.shares.get("teacher", 0.0)
    drawn = _drawn(mixture, epoch, seed, rng)
    order, n_student = drawn.order, drawn.share(student_share, 1.0)
    n_others = len(order) - n_student
    n_teacher = round(n_others * teacher / (gold + teacher))
    n_gold = (n_others - n_teacher) * (drawn.k if mixture.auto else 1)
    return [
        _student_items(drawn, order[:n_student]),
        _teacher_items(mixture, drawn, order[n_student : n_student + n_teacher]),
        *_gold_slice(mixture, start=epoch * len(mixture.inputs), count=n_gold, seed=seed),
    ]


def _student_items(drawn: _Drawn, sources: Ints) -> TrainItems:
    k = drawn.k
    return TrainItems.of_one("student", sources, np.tile(np.arange(k), len(sources)), np.full(len(sources), k))


def _teacher_items(mixture: Mixture, drawn: _Drawn, sources: Ints) -> TrainItems:
    if not len(sources):
        return TrainItems.of(())
    targets, k = mixture.targets["teacher"], drawn.k
    first, available = targets.first[sources], targets.counts[sources]
    if not available.all():
        raise PoolError(
            f"source {sources[available == 0][0]} needs a pseudo-target, but the pool has none for it; generate "
            "pseudo-targets for all inputs that train on them"
        )
    # A source with fewer texts than k repeats them only where the number of targets has to stay.
    counts = np.full(len(sources), k) if mixture.auto else np.minimum(available, k)
    turns = ranges(np.zeros(len(sources), np.int64), counts)
    rows = np.repeat(first, counts) + (drawn.turn + turns) % np.repeat(available, counts)
    return TrainItems.of_one("teacher", sources, rows, counts)


def _gold_items(mixture: Mixture, epoch: int, seed: int) -> list[TrainItems]:
    if not mixture.shares.get("gold", 0.0):
        return []
    gold, k = _gold(mixture), mixture.targets_per_source
    others = mixture.shares.get("teacher", 0.0) + mixture.shares.get("student", 0.0)
    if others == 0:
        first, sizes = _groups(gold, k)
        rows = np.arange(gold.first[0], gold.first[-1])
        return [TrainItems.of_one("gold", _owners(gold, first), rows, sizes)]
    count = round(len(mixture.inputs) * mixture.shares["gold"] / others)
    return _gold_slice(mixture, start=epoch * count, count=count, seed=seed)


def _gold_slice(mixture: Mixture, *, start: int, count: int, seed: int) -> list[TrainItems]:
    """Targets [start, start + count) of an endless sequence of shuffles of the gold targets.

    Those of one source follow each other where their number is `auto`.
    """
    if not count:
        return []
    gold = _gold(mixture)
    firsts, sizes = _groups(gold, mixture.targets_per_source if mixture.auto else 1)
    order = _shuffles(len(firsts), len(gold.texts), start=start, count=count, seed=seed)
    skipped = start % len(gold.texts)
    rows = ranges(firsts[order], sizes[order])[skipped:][:count]
    group = np.repeat(np.arange(len(order)), sizes[order])[skipped:][:count]
    counts = np.unique(group, return_counts=True)[1]
    return [TrainItems.of_one("gold", _owners(gold, rows[offsets_of(counts)[:-1]]), rows, counts)]


def _groups(gold: Targets, k: int) -> tuple[Ints, Ints]:
    """The first row and the size of each group of at most k targets of one source; together they are all targets."""
    groups = -(-gold.counts // k)
    starts = k * ranges(np.zeros(len(groups), np.int64), groups)
    sizes = np.minimum(np.repeat(gold.counts, groups) - starts, k)
    return np.repeat(gold.first[:-1], groups) + starts, sizes


def _owners(gold: Targets, rows: Ints) -> Ints:
    """The source of each of these gold targets."""
    return np.searchsorted(gold.first, rows, side="right") - 1


def _gold(mixture: Mixture) -> Targets:
    gold = mixture.targets["gold"]
    if not len(gold.texts):
        raise DataError("the mixture has a share of gold targets, but no source has one; add labeled examples")
    return gold


def _shuffles(n: int, targets: int, *, start: int, count: int, seed: int) -> Ints:
    """The shuffles of n groups that have targets [start, start + count), if each shuffle has all targets once."""
    first, last = start // targets, (start + count - 1) // targets
    return np.concatenate(
        [np.random.default_rng((seed, n, number)).permutation(n) for number in range(first, last + 1)]
    )
