"""The training loop. Every method of the family is a mixture of targets and an objective over this one loop.

It reads top to bottom: batch, loss, backward, step, measure, save. There is no trainer class; the two functions it
takes score the network on dev and generate student samples.
"""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from transformers import PreTrainedModel

from understudy.config.training import Training
from understudy.errors import TrainingError
from understudy.models.compilation import compiled_layers
from understudy.models.recomputation import recomputed_layers
from understudy.progress import ProgressCallback
from understudy.ranks import ALONE, Ranks, items_of_rank
from understudy.training.batches import PlannedBatches, count_positions
from understudy.training.checkpoints import load_best, load_checkpoint, save_best, save_checkpoint
from understudy.training.items import TrainItem, TrainItems
from understudy.training.mixture import Mixture
from understudy.training.reduction import from_first, send_weights, sum_over_ranks, wait_for_all
from understudy.training.rounds import SampleStudent, no_student_samples, prepare_round
from understudy.training.schedules import StudentShare
from understudy.training.spec import DEV_LOSS, TrainSpec
from understudy.training.state import TrainState
from understudy.training.step import (
    AutocastPrecision,
    RoundData,
    TargetLogits,
    TrainContext,
    loss_terms,
    micro_batch_loss,
    prepare_teacher,
)

SAVE_EVERY_S = 60.0
STEP_SEED_STRIDE = 1_000_003
"""A prime, so that trainings with neighboring seeds do not share the dropout of their steps."""
RANK_SEED_STRIDE = 32_452_843_000_003
"""So that ranks do not share dropout, neither with each other nor with other steps and seeds."""
AVERAGE_FROM = 0.75
"""Weights are averaged after this share of the training, where `keep_weights` is average."""


def train(  # noqa: PLR0913 - each is a plain argument of one training, and all are named
    network: PreTrainedModel,
    mixture: Mixture,
    spec: TrainSpec,
    *,
    settings: Training,
    seed: int,
    precision: AutocastPrecision,
    device: torch.device,
    pad: int,
    folder: Path,
    sample_student: SampleStudent = no_student_samples,
    progress: ProgressCallback,
    ranks: Ranks = ALONE,
) -> TrainState:
    """Trains the network in place; on return it holds the weights that `settings.keep_weights` selects.

    Interrupted anywhere and called again with the same folder, it ends with the same weights (float32, one device, no
    compiled layers). With several ranks, all of them call it with equal arguments; each computes its share of every
    micro-batch.

    Args:
        network: trained in place; moved to `device`.
        mixture: the data; together with `seed` it determines every batch.
        spec: the loss, the teacher, and how dev is scored.
        settings: of the optimization.
        seed: of order and dropout.
        precision: "float32", or "bf16" by autocast: weights and log-softmax stay float32.
        device: where student and teacher compute.
        pad: token id of padding, masked everywhere.
        folder: of the checkpoints.
        sample_student: required where the mixture has a share of student samples.
        progress: called with the fraction of a round finished since the last call.
        ranks: the processes of a `torch.distributed` group that train this network together. Rank 0 alone scores dev,
            generates student samples and writes the folder, which all of them read.

    Returns:
        The final state with its history.

    Raises:
        TrainingError: if the training diverged, or another rank has ended.
        StoreError: if the checkpoint is damaged, or of another number of ranks.
    """
    model = TargetLogits(network, spec.loss.vocab_size, precision).to(device)
    optimizer = torch.optim.AdamW(_parameter_groups(model, settings.weight_decay), fused=True)
    averaged = AveragedModel(network) if settings.keep_weights == "average" else None
    teacher = prepare_teacher(spec, device, precision)
    context = TrainContext(model, optimizer, teacher, spec, settings, device, pad, averaged=averaged, ranks=ranks)
    send_weights(model, ranks)
    state = load_checkpoint(context, folder, ranks=ranks.size)
    wait_for_all(ranks)  # rank 0 deletes this checkpoint when it writes the next one
    progress(state.round + state.batch / max(1, state.batches))
    if spec.dev.evaluate_start and not state.history:
        _evaluate(context, state, mixture.student_share, folder)
    with (
        recomputed_layers(network, enabled=bool(settings.gradient_checkpointing)),
        compiled_layers(network, enabled=bool(settings.compile_layers)),
    ):
        _train(context, mixture, state, seed=seed, folder=folder, sample_student=sample_student, progress=progress)
    wait_for_all(ranks)
    load_best(network, folder, state)
    wait_for_all(ranks)  # the caller may delete these weights
    return state


def _train(
    context: TrainContext,
    mixture: Mixture,
    state: TrainState,
    *,
    seed: int,
    folder: Path,
    sample_student: SampleStudent,
    progress: ProgressCallback,
) -> None:
    """The loop over rounds and steps, from the given state to the end."""
    settings, metric, ranks, data = context.settings, context.spec.dev.metric, context.ranks, None
    rounds = settings.epochs * mixture.rounds_per_epoch
    rounds_per_evaluation = mixture.rounds_per_epoch * settings.evaluate_every
    started, saved = time.monotonic() - state.seconds, state.seconds
    while state.round < rounds and not state.stopped_early:
        batches, data = prepare_round(context, mixture, state, seed=seed, sample_student=sample_student, previous=data)
        state.batches = len(batches)
        if not state.step:
            _scale_relation_loss(context, batches, data, state, seed)
        for micro_batches in _accumulated(batches, state.batch, settings.gradient_accumulation_steps):
            # Dropout is a function of the step and the rank: nothing to save.
            torch.manual_seed(seed * STEP_SEED_STRIDE + state.step + ranks.rank * RANK_SEED_STRIDE)
            state.progress_at_step = state.progress(rounds)
            _set_learning_rate(context.optimizer, settings, state.step, state.progress_at_step)
            train_step(context, micro_batches, data, state)
            if context.averaged and state.progress(rounds) > AVERAGE_FROM:
                context.averaged.update_parameters(context.network)
            values = {"step": state.step, "loss": state.loss}
            progress(len(micro_batches) / len(batches), f"loss {state.loss:.3f}", values)
            state.seconds = time.monotonic() - started
            if state.seconds - saved > SAVE_EVERY_S:
                _save(context, folder, state)
                saved = state.seconds
        state.round, state.batch = state.round + 1, 0
        if state.round % rounds_per_evaluation == 0 or state.round == rounds:
            if context.averaged and state.round == rounds:  # the last evaluation is of the weights that are kept
                context.network.load_state_dict(context.averaged.module.state_dict())
            _evaluate(context, state, mixture.student_share, folder)
            progress(0, f"dev {metric} {state.history[-1][metric]:.2f}", state.history[-1])
            _save(context, folder, state)


def train_step(
    context: TrainContext, micro_batches: Sequence[Sequence[TrainItem]], data: RoundData, state: TrainState
) -> None:
    """One optimizer step over accumulated micro-batches: loss, backward, gradient clipping, update.

    Each micro-batch's loss is divided by the target positions of the whole step, so that one micro-batch of eight
    items and eight micro-batches of one give the same gradient. So do several ranks, each of which has a share of the
    items of every micro-batch: gradients are summed over the ranks before they are clipped.
    """
    positions, total = sum(count_positions(items, data.texts) for items in micro_batches), 0.0
    taid = context.spec.loss.taid_schedule
    t = taid.interpolation(state.schedule_state, state.progress_at_step) if taid else 1.0
    for whole in micro_batches:
        items = items_of_rank(whole, context.ranks)
        if not len(items):  # fewer items than ranks
            continue
        loss = micro_batch_loss(context, items, data, schedule_state=state.schedule_state, t=t)
        (loss / positions).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        total += float(loss.detach())
    total = sum_over_ranks((p for p in context.model.parameters() if p.requires_grad), total, context.ranks)
    nn.utils.clip_grad_norm_(context.model.parameters(), context.settings.max_grad_norm)
    context.optimizer.step()
    context.optimizer.zero_grad()
    if taid:
        state.schedule_state.update(taid.update(state.schedule_state, t, total / positions))
    state.loss_sum += total
    state.step += 1
    state.batch += len(micro_batches)
    state.positions += positions


def _scale_relation_loss(
    context: TrainContext, batches: Sequence[Sequence[TrainItem]], data: RoundData, state: TrainState, seed: int
) -> None:
    """Measures both terms of the loss before the first step and scales them, so that neither dominates."""
    relation_loss = context.spec.loss.relation_loss
    if relation_loss is None:
        return
    torch.manual_seed(seed)
    with torch.no_grad():
        sums = [
            (*loss_terms(context, items, data), count_positions(items, data.texts))
            for items in batches[: relation_loss.scale_batches]
        ]
    state.schedule_state.update(from_first(relation_loss.scales(sums), context.ranks))


def _evaluate(context: TrainContext, state: TrainState, share: StudentShare | None, folder: Path) -> None:
    """Scores dev, saves the weights if they are to be kept, and decides early stopping (`patience`).

    Of weights with equal dev scores those with the lower dev loss are kept.
    """
    settings, dev = context.settings, context.spec.dev
    if not math.isfinite(state.loss):
        raise TrainingError(
            f"the training loss is {state.loss} at step {state.step}, so training has diverged; lower the "
            f"learning rate (now {settings.learning_rate}) or raise warmup_steps (now {settings.warmup_steps})"
        )
    scores = from_first(dev.score_dev(context.network) if context.ranks.is_first else {}, context.ranks)
    sign = 1 if dev.higher_is_better else -1
    score = sign * scores[dev.metric]
    if math.isnan(score):
        raise TrainingError(f"dev {dev.metric} is not a number at step {state.step}; choose another primary_metric")
    if share and state.history:
        worse = score < sign * state.history[-1][dev.metric]
        state.schedule_state.update(share.update(state.schedule_state, worse=worse))
    state.history.append(state.history_row() | dict(scores))
    state.loss_sum, state.positions = 0.0, 0
    order, best = (score, -scores.get(DEV_LOSS, 0.0)), (state.best_score, -(state.best_loss or 0.0))
    improved = best[0] is None or order > best or settings.keep_weights != "best"
    state.evals_without_improvement = 0 if improved else state.evals_without_improvement + 1
    # Of equal scores the later weights are kept: a metric that never moves must not discard the training.
    if improved or order == best:
        state.best_score, state.best_loss, state.best_step = score, scores.get(DEV_LOSS), state.step
        if context.ranks.is_first:
            save_best(context.network, folder, state)
    state.stopped_early = settings.patience is not None and state.evals_without_improvement >= settings.patience


def _save(context: TrainContext, folder: Path, state: TrainState) -> None:
    """Writes a checkpoint; the weights of all ranks are the same."""
    if context.ranks.is_first:
        save_checkpoint(context, folder, state)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay applies to matrices, not to vectors (biases, norms)."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _set_learning_rate(optimizer: torch.optim.Optimizer, settings: Training, step: int, progress: float) -> None:
    """Linear warm-up by step, then the schedule by the share of training done.

    The number of steps is not known ahead: it depends on the length of student samples that do not exist yet.
    """
    warmup = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    decay = 1.0 - progress if settings.schedule == "linear" else 1.0
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * min(warmup, decay)


def _accumulated(batches: PlannedBatches, first: int, steps: int) -> Iterator[list[TrainItems]]:
    """The micro-batches of each optimizer step (gradient accumulation), from the given one on."""
    for start in range(first, len(batches), steps):
        yield batches[start : start + steps]
