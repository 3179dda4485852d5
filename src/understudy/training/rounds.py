"""The data of one round: its items, the student samples they train on, their teacher log-probabilities, its batches."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from transformers import PreTrainedModel

from understudy.errors import ObjectiveError
from understudy.pool.logprob_cache import AnyLogprobs, TeacherLogprobs
from understudy.records import TextGenerator
from understudy.training.batches import PlannedBatches, plan_batches
from understudy.training.items import TrainItem, TrainItems
from understudy.training.mixture import Mixture, plan_round
from understudy.training.reduction import wait_for_all
from understudy.training.state import TrainState
from understudy.training.step import RoundData, TrainContext
from understudy.training.student_sampling import StudentSamples
from understudy.training.teacher_logprobs import TeacherLogprobScorer

SampleStudent = Callable[[PreTrainedModel, Sequence[TrainItem], int], StudentSamples]
"""(student, its items, round number) -> the samples of these items.

Called again for the same round after an interruption, it must return the same samples.
"""


def no_student_samples(student: PreTrainedModel, items: Sequence[TrainItem], number: int) -> StudentSamples:
    """The `sample_student` of a mixture without student samples."""
    raise ObjectiveError(
        f"round {number} needs student samples for {len(items)} items, but no function generates them from the "
        f"{type(student).__name__}; pass sample_student to train()"
    )


def prepare_round(
    context: TrainContext,
    mixture: Mixture,
    state: TrainState,
    *,
    seed: int,
    sample_student: SampleStudent,
    previous: RoundData | None,
) -> tuple[PlannedBatches, RoundData]:
    """The micro-batches of the current round in order, and the data they refer to.

    Args:
        context: of the training.
        mixture: the data.
        state: gives the round number and the state of the schedules.
        seed: of the plan.
        sample_student: generates the student samples of the round.
        previous: data of the round before, whose log-probabilities of student samples are reused; None at a start and
            after an interruption, where they are computed again with the same result.
    """
    rounds = context.settings.epochs * mixture.rounds_per_epoch
    share = current_student_share(mixture, state, rounds)
    items = plan_round(mixture, number=state.round, seed=seed, student_share=share)
    texts = {generator: targets.texts for generator, targets in mixture.targets.items()}
    items, samples = _samples_of_first(context, items, state.round, sample_student)
    if samples:
        texts["student"] = samples.texts
    caches, sample_logprobs = round_logprobs(context, mixture, samples, previous.sample_logprobs if previous else {})
    batches = plan_batches(
        items,
        mixture.sources,
        texts,
        batch_tokens=context.settings.batch_tokens,
        seed=(seed, state.round),
        by_target=mixture.auto is not None,
    )
    return batches, RoundData(mixture, texts, caches, sample_logprobs)


def current_student_share(mixture: Mixture, state: TrainState, rounds: int) -> float | None:
    """The share of student samples in the current epoch; None where `mixture.shares` gives it."""
    if mixture.student_share is None:
        return None
    first_round = state.round - state.round % mixture.rounds_per_epoch
    return mixture.student_share.share(state.schedule_state, first_round / rounds)


def add_student_samples(
    student: PreTrainedModel, items: TrainItems, number: int, sample_student: SampleStudent
) -> tuple[TrainItems, StudentSamples | None]:
    """The items, those of the student with the rows of their samples; None where there are no such items."""
    to_sample = items.of_generator("student")
    if not to_sample.any():
        return items, None
    samples = sample_student(student, items.take(np.flatnonzero(to_sample)), number)
    return items.with_rows(to_sample, samples.items), samples


def _samples_of_first(
    context: TrainContext, items: TrainItems, number: int, sample_student: SampleStudent
) -> tuple[TrainItems, StudentSamples | None]:
    """As `add_student_samples`: rank 0 generates the samples, then the other ranks find them in its folder."""
    if context.ranks.is_first:
        found = add_student_samples(context.network, items, number, sample_student)
        wait_for_all(context.ranks)
        return found
    wait_for_all(context.ranks)
    return add_student_samples(context.network, items, number, sample_student)


def round_logprobs(
    context: TrainContext, mixture: Mixture, samples: StudentSamples | None, known: Mapping[int, TeacherLogprobs]
) -> tuple[dict[TextGenerator, AnyLogprobs], Mapping[int, TeacherLogprobs]]:
    """Cached teacher log-probabilities of all texts of a round, and those of student samples by their round.

    Samples of an earlier round that are used again keep their log-probabilities, which do not age.
    """
    loss, caches = context.spec.loss, dict(context.spec.teacher.logprob_caches)
    if samples is None or not loss.kept_tokens or context.teacher is None:
        return caches, {}
    other = context.spec.teacher.other
    pad = other.teacher.pad_id if other else context.pad
    sources = mixture.sources_for_teacher
    scorer = TeacherLogprobScorer(context.teacher, sources, loss.kept_tokens, pad, loss.top_p, other)
    by_round = {
        number: known[number] if number in known else scorer.logprobs(items, samples.texts, ranks=context.ranks)
        for number, items in samples.rounds.items()
    }
    return {**caches, "student": TeacherLogprobs.joined(list(by_round.values()))}, by_round
