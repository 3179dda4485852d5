"""The one training loop: every method of the family is a mixture of targets and an objective.

No trainer class, no callbacks beyond two plain functions: one scores the network on dev, one lets it write.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim.swa_utils import AveragedModel
from transformers import PreTrainedModel

from understudy.config.training import Training
from understudy.errors import ObjectiveError, TrainingError
from understudy.pool.logprob_cache import TeacherLogprobs
from understudy.pool.token_arrays import TokenArrays
from understudy.progress import ProgressCallback
from understudy.records import TextGenerator
from understudy.training.batches import plan_batches, positions
from understudy.training.checkpoints import TrainState, keep_best, load_best, resume, save
from understudy.training.mixture import Mixture, TrainItem, plan_round
from understudy.training.relation_loss import RelationLoss
from understudy.training.schedules import StudentShare
from understudy.training.step import (
    Precision,
    RoundData,
    TargetLogits,
    TrainContext,
    TrainSpec,
    live_teacher,
    terms_of,
    update,
)
from understudy.training.student_sampling import StudentSamples
from understudy.training.teacher_logprobs import TeacherLogprobScorer

SAVE_EVERY_S = 60.0
PRIME = 1_000_003
AVERAGED_FROM = 0.75
"""The share of the training after which weights count, where the mean of them is kept."""

SampleStudent = Callable[[PreTrainedModel, Sequence[TrainItem], int], StudentSamples]
"""(student, its lessons, round) -> the texts it writes for them.

A round that is asked for again, after a kill, must get the texts it got before.
"""


def no_student_samples(student: PreTrainedModel, lessons: Sequence[TrainItem], number: int) -> StudentSamples:
    """Stands where the mixture has no student's share."""
    raise ObjectiveError(
        f"round {number} teaches {len(lessons)} texts of the student {type(student).__name__}, but nobody can write "
        "them; give train() sample_student"
    )


def train(
    network: PreTrainedModel,
    mixture: Mixture,
    goal: TrainSpec,
    *,
    settings: Training,
    seed: int,
    precision: Precision,
    pad: int,
    folder: Path,
    sample_student: SampleStudent = no_student_samples,
    advance: ProgressCallback,
) -> TrainState:
    """Trains the network; on return it holds the weights that `settings` says to keep.

    Killed anywhere and called again with the same folder, it ends with the same weights (float32, one device).

    Args:
        network: changed in place.
        mixture: what is taught; together with `seed` it fixes every batch.
        goal: what is minimised, and how dev is scored.
        settings: of the optimisation.
        seed: of order and dropout.
        precision: "float32", or "bf16" by autocast: weights and log-softmax stay float32.
        pad: fills up batches; masked everywhere.
        folder: for checkpoints.
        sample_student: needed where the mixture has a student's share.
        advance: told of rounds done, in fractions.

    Returns:
        Where the training stood at its end, with its history.
    """
    lecture = _lecture(network, goal, settings, precision, pad)
    standing = resume(lecture, folder)
    advance(standing.round + standing.batch / max(1, standing.batches))
    if goal.judge_start and not standing.history:
        _look_at_dev(lecture, standing, mixture.student_share, folder)
    _teach(lecture, mixture, standing, seed=seed, folder=folder, sample_student=sample_student, advance=advance)
    load_best(network, folder, standing)
    return standing


def _lecture(
    network: PreTrainedModel, goal: TrainSpec, settings: Training, precision: Precision, pad: int
) -> TrainContext:
    accelerator = Accelerator()
    model = TargetLogits(network, goal.vocabulary, precision)
    optimizer = torch.optim.AdamW(_parameter_groups(model, settings.weight_decay), fused=True)
    model, optimizer = accelerator.prepare(model, optimizer)
    teacher = live_teacher(goal, accelerator, precision)
    averaged = AveragedModel(network) if settings.keep_weights == "average" else None
    return TrainContext(accelerator, model, optimizer, teacher, goal, settings, pad, averaged=averaged)


def _teach(
    lecture: TrainContext,
    mixture: Mixture,
    standing: TrainState,
    *,
    seed: int,
    folder: Path,
    sample_student: SampleStudent,
    advance: ProgressCallback,
) -> None:
    """The loop: from where the training stands to its end."""
    network, goal, settings = lecture.network, lecture.goal, lecture.settings
    rounds = settings.epochs * mixture.rounds_per_epoch
    started, saved = time.monotonic() - standing.seconds, standing.seconds
    remembered: Mapping[int, TeacherLogprobs] = {}
    while standing.round < rounds and not standing.finished:
        share = student_share_of(mixture, standing, rounds)
        lessons, texts, written = _lessons_of_round(network, mixture, standing.round, seed, share, sample_student)
        logprob_caches, remembered = _signals_of_round(lecture, mixture, written, remembered)
        material = RoundData(mixture, texts, logprob_caches)
        batches = plan_batches(
            lessons, mixture.sources, texts, batch_tokens=settings.batch_tokens, seed=(seed, standing.round)
        )
        standing.batches = len(batches)
        if goal.relating and not standing.step:
            _scale_terms(lecture, goal.relating, batches, material, standing, seed)
        for micro_batches in _steps(batches[standing.batch :], settings.gradient_accumulation_steps):
            torch.manual_seed(seed * PRIME + standing.step)  # dropout is a function of the step: nothing to save
            standing.done = standing.progress_at(rounds)
            _set_rate(lecture.optimizer, settings, standing.step, standing.done)
            update(lecture, micro_batches, material, standing)
            if lecture.averaged and standing.progress_at(rounds) > AVERAGED_FROM:
                lecture.averaged.update_parameters(network)
            advance(len(micro_batches) / len(batches), f"loss {standing.loss:.3f}")
            standing.seconds = time.monotonic() - started
            if standing.seconds - saved > SAVE_EVERY_S:
                save(lecture, folder, standing)
                saved = standing.seconds
        standing.round, standing.batch = standing.round + 1, 0
        if standing.round % (mixture.rounds_per_epoch * settings.evaluate_every) == 0 or standing.round == rounds:
            if lecture.averaged and standing.round == rounds:
                network.load_state_dict(lecture.averaged.module.state_dict())  # the last look is at what is kept
            _look_at_dev(lecture, standing, mixture.student_share, folder)
            advance(0, f"dev {goal.metric} {standing.history[-1][goal.metric]:.2f}")
            save(lecture, folder, standing)


def student_share_of(mixture: Mixture, standing: TrainState, rounds: int) -> float | None:
    """The share of the student's texts in the epoch that is being taught; None where it is what `shares` says."""
    if mixture.student_share is None:
        return None
    first = standing.round - standing.round % mixture.rounds_per_epoch
    return mixture.student_share.at(standing.schedule_state, first / rounds)


def _lessons_of_round(
    network: PreTrainedModel,
    mixture: Mixture,
    number: int,
    seed: int,
    student_share: float | None,
    sample_student: SampleStudent,
) -> tuple[list[TrainItem], dict[TextGenerator, TokenArrays], StudentSamples | None]:
    """The round's lessons with the texts they speak of; the student writes its own now."""
    lessons = plan_round(mixture, number=number, seed=seed, student_share=student_share)
    texts = {generator: targets.texts for generator, targets in mixture.targets.items()}
    to_write = [lesson for lesson in lessons if lesson.generator == "student"]
    if not to_write:
        return lessons, texts, None
    written = sample_student(network, to_write, number)
    texts["student"], rows = written.texts, iter(written.rows)
    lessons = [lesson._replace(rows=next(rows)) if lesson.generator == "student" else lesson for lesson in lessons]
    return lessons, texts, written


def _signals_of_round(
    lecture: TrainContext, mixture: Mixture, written: StudentSamples | None, before: Mapping[int, TeacherLogprobs]
) -> tuple[dict[TextGenerator, TeacherLogprobs], Mapping[int, TeacherLogprobs]]:
    """What the teacher says of all texts of a round, and, by the round they were written in, of the student's.

    What it said before of texts that are taught again does not age. After a kill it is asked again, about the same
    texts in the same batches, and says the same.
    """
    goal, logprob_caches = lecture.goal, dict(lecture.goal.logprob_caches)
    if written is None or not goal.kept_tokens or lecture.teacher is None:
        return logprob_caches, {}
    listener = TeacherLogprobScorer(lecture.teacher, mixture.teacher_reading_sources, goal.kept_tokens, lecture.pad)
    heard = {
        number: before[number] if number in before else listener.hear(lessons, written.texts)
        for number, lessons in written.rounds.items()
    }
    return {**logprob_caches, "student": TeacherLogprobs.joined(list(heard.values()))}, heard


def _scale_terms(
    lecture: TrainContext,
    relating: RelationLoss,
    batches: Sequence[Sequence[TrainItem]],
    material: RoundData,
    standing: TrainState,
    seed: int,
) -> None:
    """Measures both terms of the loss before the first step, so that neither drowns the other."""
    torch.manual_seed(seed)
    with torch.no_grad():
        sums = [
            (*terms_of(lecture, lessons, material), positions(lessons, material.texts))
            for lessons in batches[: relating.scale_batches]
        ]
    standing.schedule_state.update(relating.scales(sums))


def _look_at_dev(lecture: TrainContext, standing: TrainState, share: StudentShare | None, folder: Path) -> None:
    """Scores dev, keeps the weights if they are to be kept, and stops when patience is at its end."""
    network, goal, settings = lecture.network, lecture.goal, lecture.settings
    if not math.isfinite(standing.loss):
        raise TrainingError(
            f"the training loss is {standing.loss} at step {standing.step}, so the network has diverged; lower the "
            f"learning rate (now {settings.learning_rate}) or lengthen warmup_steps"
        )
    scores = goal.score_dev(network)
    sign = 1 if goal.higher_is_better else -1
    value = sign * scores[goal.metric]
    if share and standing.history:
        standing.schedule_state.update(
            share.after(standing.schedule_state, worse=value < sign * standing.history[-1][goal.metric])
        )
    standing.history.append(standing.row() | dict(scores))
    standing.loss_sum, standing.positions = 0.0, 0
    if standing.best is None or value > standing.best or settings.keep_weights != "best":
        standing.best, standing.best_step, standing.evals_without_improvement = value, standing.step, 0
        keep_best(network, folder, standing)
    else:
        standing.evals_without_improvement += 1
        standing.finished = settings.patience is not None and standing.evals_without_improvement >= settings.patience


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay, vectors (biases, norms) do not."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _set_rate(optimizer: torch.optim.Optimizer, settings: Training, step: int, done: float) -> None:
    """Linear warm-up by step, then the schedule by the share of training done: its steps cannot be counted ahead,
    for how many there are depends on the length of texts the student has not written yet.
    """
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    falling = 1.0 - done if settings.schedule == "linear" else 1.0
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * min(warm, falling)


def _steps(batches: Sequence[list[TrainItem]], gradient_accumulation_steps: int) -> Iterator[Sequence[list[TrainItem]]]:
    for start in range(0, len(batches), gradient_accumulation_steps):
        yield batches[start : start + gradient_accumulation_steps]
