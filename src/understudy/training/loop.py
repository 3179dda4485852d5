"""The one training loop: every method of the family is a mixture of targets and an objective.

No trainer class, no callbacks beyond two plain functions: one scores the network on dev, one lets it write.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedModel

from understudy.config.training import Training
from understudy.errors import ObjectiveError, TrainingError
from understudy.models.forward import target_logits
from understudy.objectives import Objective
from understudy.progress import Advance
from understudy.records import Generator
from understudy.training.batches import collate, plan_batches, positions
from understudy.training.checkpoints import Standing, keep_best, load_best, resume, save
from understudy.training.mixture import Lesson, Mixture, plan_round
from understudy.training.texts import Texts

SAVE_EVERY_S = 60.0
PRIME = 1_000_003

WriteTexts = Callable[[PreTrainedModel, Sequence[Lesson], int], Texts]
"""(student, its lessons, round) -> the texts it writes for them, in their order.

A round that is asked for again, after a kill, must get the texts it got before.
"""
Precision = Literal["float32", "bf16"]
ScoreDev = Callable[[PreTrainedModel], Mapping[str, float]]
"""The network's scores on dev by metric."""


@dataclass(frozen=True)
class Goal:
    """What training minimises, and by which dev score its best weights are told."""

    objective: Objective
    objective_settings: Mapping[str, float]
    teacher: PreTrainedModel | None
    vocabulary: int
    """Tokens of the tokenizer: columns of logits beyond are padding and take no part."""
    score_dev: ScoreDev
    metric: str
    higher_is_better: bool
    judge_start: bool = False
    """Whether the weights training starts from compete on dev, so that it can only improve on them."""


def no_writer(student: PreTrainedModel, lessons: Sequence[Lesson], number: int) -> Texts:
    """Stands where the mixture has no student's share."""
    raise ObjectiveError(
        f"round {number} teaches {len(lessons)} texts of the student {type(student).__name__}, but nobody can write "
        "them; give train() write_texts"
    )


class TargetLogits(nn.Module):
    """A network as the loop sees it: micro-batch in, logits at the target positions out."""

    def __init__(self, network: PreTrainedModel, vocabulary: int, precision: Precision) -> None:
        super().__init__()
        self.network = network
        self.vocabulary = vocabulary
        self.precision = precision

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The logits at the N target positions, (N, V)."""
        # Not accelerate's own autocast: that holds one precision for all trainings of a process.
        with torch.autocast(inputs["source_ids_SL"].device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return target_logits(self.network, **inputs)[:, : self.vocabulary]


@dataclass(frozen=True)
class Lecture:
    """What every step of one training uses."""

    accelerator: Accelerator
    model: nn.Module
    optimizer: torch.optim.Optimizer
    teacher: nn.Module | None
    goal: Goal
    settings: Training
    pad: int


def train(
    network: PreTrainedModel,
    mixture: Mixture,
    goal: Goal,
    *,
    settings: Training,
    seed: int,
    precision: Precision,
    pad: int,
    folder: Path,
    write_texts: WriteTexts = no_writer,
    advance: Advance,
) -> Standing:
    """Trains the network; on return it holds the weights that dev liked best.

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
        write_texts: needed where the mixture has a student's share.
        advance: told of rounds done, in fractions.

    Returns:
        Where the training stood at its end, with its history.
    """
    accelerator = Accelerator()
    model = TargetLogits(network, goal.vocabulary, precision)
    optimizer = torch.optim.AdamW(_parameter_groups(model, settings.weight_decay), fused=True)
    model, optimizer = accelerator.prepare(model, optimizer)
    lecture = Lecture(accelerator, model, optimizer, _listener(goal, accelerator, precision), goal, settings, pad)
    standing = resume(accelerator, model, optimizer, folder)
    rounds = settings.epochs * mixture.rounds_per_epoch
    started = saved = time.monotonic()
    before = standing.seconds
    advance(standing.round + standing.batch / max(1, standing.batches))

    if goal.judge_start and not standing.history:
        _look_at_dev(lecture, network, standing, folder)
    while standing.round < rounds and not standing.finished:
        lessons, texts = _lessons_of_round(network, mixture, standing.round, seed, write_texts)
        batches = plan_batches(
            lessons, mixture.sources, texts, batch_tokens=settings.batch_tokens, seed=(seed, standing.round)
        )
        standing.batches = len(batches)
        for micro_batches in _steps(batches[standing.batch :], settings.accumulate):
            torch.manual_seed(seed * PRIME + standing.step)  # dropout is a function of the step: nothing to save
            _set_rate(optimizer, settings, standing.step, (standing.round + standing.batch / len(batches)) / rounds)
            update(lecture, micro_batches, mixture, texts, standing)
            advance(len(micro_batches) / len(batches), f"loss {standing.loss:.3f}")
            standing.seconds = before + time.monotonic() - started
            if time.monotonic() - saved > SAVE_EVERY_S:
                save(accelerator, model, optimizer, folder, standing)
                saved = time.monotonic()
        standing.round, standing.batch = standing.round + 1, 0
        if standing.round % (mixture.rounds_per_epoch * settings.evaluate_every) == 0 or standing.round == rounds:
            _look_at_dev(lecture, network, standing, folder)
            advance(0, f"dev {goal.metric} {standing.history[-1][goal.metric]:.2f}")
            save(accelerator, model, optimizer, folder, standing)
    load_best(network, folder, standing)
    return standing


def update(
    lecture: Lecture,
    micro_batches: Sequence[Sequence[Lesson]],
    mixture: Mixture,
    texts: Mapping[Generator, Texts],
    standing: Standing,
) -> None:
    """One step of the optimizer.

    Each micro-batch's loss is divided by the target positions of the whole step, so that one micro-batch of eight
    lessons and eight of one give the same gradient.
    """
    count = sum(positions(lessons, texts) for lessons in micro_batches)
    for lessons in micro_batches:
        inputs = _inputs(lecture, lessons, mixture.sources, texts)
        other = mixture.teacher_sources
        heard = inputs if other is None else _inputs(lecture, lessons, other, texts)
        loss = loss_of(lecture, inputs, heard)
        lecture.accelerator.backward(loss / count)
        standing.loss_sum += float(loss.detach())
    lecture.accelerator.clip_grad_norm_(lecture.model.parameters(), lecture.settings.max_grad_norm)
    lecture.optimizer.step()
    lecture.optimizer.zero_grad()
    standing.step += 1
    standing.batch += len(micro_batches)
    standing.positions += count


def loss_of(lecture: Lecture, inputs: Mapping[str, Tensor], teacher_inputs: Mapping[str, Tensor]) -> Tensor:
    """The objective on one micro-batch: a sum in nats over its target positions.

    The teacher's inputs hold the same targets after sources of its own, where the two families mark them differently.
    """
    lecture.model.train()
    student_logits_NV = lecture.model(inputs)
    if lecture.teacher is None:
        compared_with = inputs["target_ids_BT"][inputs["target_mask_BT"]]
    else:
        with torch.no_grad():
            compared_with = lecture.teacher(teacher_inputs)
    goal = lecture.goal
    return goal.objective.function(student_logits_NV, compared_with, **goal.objective_settings)


def _inputs(
    lecture: Lecture, lessons: Sequence[Lesson], sources: Texts, texts: Mapping[Generator, Texts]
) -> dict[str, Tensor]:
    return collate(lessons, sources, texts, pad=lecture.pad).inputs(lecture.accelerator.device)


def _lessons_of_round(
    network: PreTrainedModel, mixture: Mixture, number: int, seed: int, write_texts: WriteTexts
) -> tuple[list[Lesson], dict[Generator, Texts]]:
    """The round's lessons with the texts they speak of; the student writes its own now."""
    lessons = plan_round(mixture, number=number, seed=seed)
    texts = {generator: targets.texts for generator, targets in mixture.targets.items()}
    to_write = [lesson for lesson in lessons if lesson.generator == "student"]
    if not to_write:
        return lessons, texts
    texts["student"] = write_texts(network, to_write, number)
    ends = itertools.accumulate(len(lesson.rows) for lesson in to_write)
    written = iter(
        [
            lesson._replace(rows=tuple(range(end - len(lesson.rows), end)))
            for lesson, end in zip(to_write, ends, strict=True)
        ]
    )
    return [next(written) if lesson.generator == "student" else lesson for lesson in lessons], texts


def _look_at_dev(lecture: Lecture, network: PreTrainedModel, standing: Standing, folder: Path) -> None:
    """Scores dev, keeps the weights if they are the best so far, and stops when patience is at its end."""
    goal, patience = lecture.goal, lecture.settings.patience
    if not math.isfinite(standing.loss):
        raise TrainingError(
            f"the training loss is {standing.loss} at step {standing.step}, so the network has diverged; lower the "
            f"learning rate (now {lecture.settings.learning_rate}) or lengthen warmup_steps"
        )
    scores = goal.score_dev(network)
    value = scores[goal.metric] if goal.higher_is_better else -scores[goal.metric]
    standing.history.append(standing.row() | dict(scores))
    standing.loss_sum, standing.positions = 0.0, 0
    if standing.best is None or value > standing.best:
        standing.best, standing.best_step, standing.disappointments = value, standing.step, 0
        keep_best(network, folder, standing)
    else:
        standing.disappointments += 1
        standing.finished = patience is not None and standing.disappointments >= patience


def _listener(goal: Goal, accelerator: Accelerator, precision: Precision) -> TargetLogits | None:
    if goal.objective.needs == "labels":
        return None
    if goal.teacher is None:
        raise ObjectiveError(f"{goal.objective.function.__name__} compares with a teacher's logits; give it a teacher")
    teacher = TargetLogits(goal.teacher, goal.vocabulary, precision).to(accelerator.device)
    return teacher.eval().requires_grad_(requires_grad=False)


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


def _steps(batches: Sequence[list[Lesson]], accumulate: int) -> Iterator[Sequence[list[Lesson]]]:
    for start in range(0, len(batches), accumulate):
        yield batches[start : start + accumulate]
