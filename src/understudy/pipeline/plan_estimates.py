"""What each kind of stage costs, from its fields, the lengths of the task's texts and the speed of the machine.

`ESTIMATES` is one table, from the class of a stage to a function. Texts that do not exist yet are taken to be as long
as gold targets. Seconds are meant to be right within a factor of two.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from understudy.config.training import Training
from understudy.models.layer_order import forward_passes
from understudy.pipeline.network_size import NetworkSize, trained_parameters
from understudy.pipeline.planner import DISK_BYTES_PER_S, Planner
from understudy.pipeline.stages.benchmark import BenchmarkStage
from understudy.pipeline.stages.confidences import ConfidencesStage
from understudy.pipeline.stages.conversion import ConversionStage
from understudy.pipeline.stages.fine_tuned import FinalFinetuneStage, FineTunedStage
from understudy.pipeline.stages.layer_order import BATCH_EXAMPLES, LayerOrderStage
from understudy.pipeline.stages.predictions import SCORED_SPLITS, PredictionsStage
from understudy.pipeline.stages.pseudo_targets import PseudoTargetsStage, text_ranges
from understudy.pipeline.stages.scores import ScoresStage
from understudy.pipeline.stages.student import StudentStage
from understudy.pipeline.stages.teacher import TeacherStage
from understudy.pipeline.stages.teacher_logprobs import TeacherLogprobsStage
from understudy.pipeline.stages.training_steps import StepsFacts
from understudy.pipeline.starts import Trains, start_of_stage
from understudy.pipeline.work import training_work
from understudy.pool.logprob_cache import count_type
from understudy.pool.logprob_rows import row_format
from understudy.store import Stage
from understudy.training.chunked_loss import MIN_CHUNK, WHOLE_LOGITS
from understudy.training.teacher_logprobs import BATCH_TOKENS, MAX_LOGITS

PROCESS_BYTES = 700e6
"""Of a process that has imported the libraries."""
STATE_BYTES = 12
"""Per parameter that is trained, in addition to the weight: its gradient and two moments of AdamW, in float32."""
ACTIVATION_BYTES = 70
"""Per token, layer and unit of width, kept for the backward pass in float32 (Korthikanti et al. 2022, section 4.1)."""
LOGITS_COPIES = 4
"""Tensors of the size of the logits that exist at the same time: logits, log-softmax and their gradients."""
POOL_TOKEN_BYTES = 12
"""Of the token ids and of the text."""
PADDING = 1.15
"""Tokens of a micro-batch, padding included, for each token of its texts, which are of similar length."""
STAGE_S = 0.2
"""Of a stage that loads a network: its tokenizer, its data, its checksums."""
PROCESS_START_S = 4.0
"""Of a process of a benchmark."""
THROUGHPUT_PASSES = 3
SCORES_S_PER_PREDICTION = 0.006
"""Of all metrics and their intervals, for one text of one system."""


@dataclass(frozen=True)
class Estimate:
    """What a stage reads, generates and costs."""

    inputs: int = 0
    texts: float = 0.0
    tokens: float = 0.0
    """Of sources and targets, each time that a network reads or writes them."""
    steps: int = 0
    seconds: float = 0.0
    least_seconds: float | None = None
    """Those of a training that early stopping ends as soon as it can; None: it is not stopped."""
    memory_bytes: float = PROCESS_BYTES
    disk_bytes: float = 0.0
    money: float | None = None


def estimate_of(stage: Stage[Any], planner: Planner) -> Estimate:
    """What a stage takes."""
    estimate = ESTIMATES.get(type(stage))
    return estimate(stage, planner) if estimate else Estimate()


def training(stage: Trains, planner: Planner) -> Estimate:
    """A training: its steps, the evaluations on dev, student samples, the teacher where it scores texts meanwhile."""
    facts, size = planner.steps(stage), planner.size(stage)
    if facts is None or stage.settings is None:  # the network is used as it is
        return Estimate(seconds=2 * size.bytes / DISK_BYTES_PER_S, memory_bytes=PROCESS_BYTES + size.bytes,
                        disk_bytes=size.bytes)  # fmt: skip
    training = stage.settings.training
    batches = facts.steps / training.epochs * training.gradient_accumulation_steps
    work = training_work(
        size,
        source_tokens=PADDING * facts.source_tokens,
        target_tokens=PADDING * facts.target_tokens,
        batches=batches,
        passes=2.0 if training.lora else 3.0,  # no gradients of frozen weights
    )
    trained = trained_parameters(start_of_stage(stage), training.lora, planner.task.limits, planner.context)
    memory = PROCESS_BYTES + size.bytes + STATE_BYTES * trained + _activations(facts, size, training)
    epoch_s, evaluation_s = planner.speed.seconds("train", work), planner.evaluation(stage, stage.settings)
    if isinstance(stage, StudentStage):
        more, held = _with_teacher(stage, planner, facts, batches)
        epoch_s, memory = epoch_s + more / training.epochs, memory + held

    def seconds(epochs: int) -> float:
        evaluations = math.ceil(epochs / training.evaluate_every)
        return STAGE_S + epochs * epoch_s + evaluations * evaluation_s

    fewest = fewest_epochs(training, evaluates_start=isinstance(stage, FinalFinetuneStage))
    return Estimate(
        inputs=facts.inputs,
        texts=facts.texts * training.epochs,
        tokens=(facts.source_tokens + facts.target_tokens) * training.epochs,
        steps=facts.steps,
        seconds=seconds(training.epochs),
        least_seconds=seconds(fewest) if fewest < training.epochs else None,
        memory_bytes=memory,
        # While it trains, a checkpoint holds weights and both moments; the best weights lie next to it.
        disk_bytes=size.bytes,
    )


def fewest_epochs(training: Training, *, evaluates_start: bool = False) -> int:
    """Epochs of a training that early stopping ends as soon as it can: after the first evaluation none is better."""
    if training.patience is None:
        return training.epochs
    evaluations = training.patience + (0 if evaluates_start else 1)
    return min(training.epochs, evaluations * training.evaluate_every)


def _activations(facts: StepsFacts, size: NetworkSize, training: Training) -> float:
    layers = size.source_layers + size.target_layers
    at_once = max(WHOLE_LOGITS, MIN_CHUNK * size.vocabulary)
    logits = 4 * LOGITS_COPIES * min(facts.most_targets * size.vocabulary, at_once)
    states = facts.most_tokens * size.width / 2
    if training.gradient_checkpointing:  # the inputs of all layers, and one layer at a time
        return (4 * layers + ACTIVATION_BYTES) * states + logits
    return ACTIVATION_BYTES * layers * states + logits


def _with_teacher(stage: StudentStage, planner: Planner, facts: StepsFacts, batches: float) -> tuple[float, float]:
    """Seconds and bytes of the student's samples and of a teacher that scores texts during training."""
    settings, samples = stage.settings.training, stage.mixture.samples
    sampled = facts.student_texts * settings.epochs * (1 - samples.start)
    seconds = planner.generation(stage, samples.decoding, sampled / (1 + samples.max_age))
    if sampled:
        seconds += samples.rounds_per_epoch * settings.epochs * (1 - samples.start) * planner.opening(stage)
    if stage.teacher_network is None:
        return seconds, 0.0
    size, (source, target) = planner.size(stage.teacher_network), planner.lengths
    dense = stage.loss.kept_tokens is None
    scored = facts.texts * settings.epochs if dense else sampled
    work = training_work(
        size, source_tokens=scored * source, target_tokens=scored * target, batches=batches, passes=1.0
    )
    return seconds + planner.speed.seconds("train", work), size.scoring_bytes(bf16=stage.loss.bf16_teacher)


def conversion(stage: ConversionStage, planner: Planner) -> Estimate:
    """The network in its engine's form."""
    size = planner.size(stage.network)
    return Estimate(
        seconds=STAGE_S + planner.opening(stage.network),
        memory_bytes=PROCESS_BYTES + 2 * size.bytes,
        disk_bytes=size.bytes if planner.converts(stage.network) else 0,
    )


def layers_by_loss(stage: LayerOrderStage, planner: Planner) -> Estimate:
    """Forward passes without each layer in turn; layers before the one that is left out run once per step."""
    size, (source, target) = planner.size(stage.teacher), planner.lengths
    layers = {"decoder": size.target_layers, **({"encoder": size.source_layers} if "encoder" in stage.keep else {})}
    passes, runs = forward_passes(layers, stage.keep)
    share = runs / max(1, passes * sum(layers.values()))
    head = size.width * size.vocabulary
    own = replace(size, source=round(size.source * share), target=round((size.target - head) * share) + head)
    inputs = min(stage.examples, planner.task.facts.counts["labeled"])
    read, written, batches = inputs * source, inputs * target, inputs / BATCH_EXAMPLES
    work = training_work(own, source_tokens=read, target_tokens=written, batches=batches, passes=1.0)
    return Estimate(
        inputs=inputs,
        tokens=passes * (read + written),
        seconds=passes * planner.speed.seconds("train", work),
        memory_bytes=PROCESS_BYTES + size.bytes,
    )


def pseudo_targets(stage: PseudoTargetsStage, planner: Planner) -> Estimate:
    """All texts that the teacher generates."""
    network, (source, target) = stage.teacher.network, planner.lengths
    inputs = sum(planner.task.teacher_facts.counts[kind] for kind in stage.inputs)
    ranges = text_ranges(stage.decoding, stage.per_input)
    generated = inputs * sum(count for _, count in ranges)  # the last range may give more than are kept
    texts = inputs * stage.per_input
    seconds = STAGE_S + sum(planner.generation(network, stage.decoding, inputs, count) for _, count in ranges)
    return Estimate(
        inputs=inputs,
        texts=texts,
        tokens=inputs * source * len(ranges) + generated * target,
        seconds=seconds,
        memory_bytes=PROCESS_BYTES + planner.size(network).bytes,
        disk_bytes=generated * target * POOL_TOKEN_BYTES,
    )


def logprobs(stage: TeacherLogprobsStage, planner: Planner) -> Estimate:
    """One pass of the teacher over texts that exist before training."""
    size, (source, target) = planner.size(stage.teacher), planner.lengths
    counts = planner.task.facts.counts
    inputs, texts = counts["labeled"], float(counts["labeled"])
    if isinstance(stage.pool, PseudoTargetsStage):
        inputs = sum(counts[kind] for kind in stage.pool.inputs)
        texts = float(inputs * stage.pool.per_input)
    positions = texts * target
    work = training_work(size, source_tokens=inputs * source, target_tokens=positions, batches=1, passes=1.0)
    # Not the rows of the network's embeddings, which are often padded, and of the tokens that the cache has: a student
    # with another tokenizer has its own.
    vocabulary = planner.vocabulary(stage.student)
    most = min(stage.kept_tokens, vocabulary)
    # How many tokens top-p truncation keeps is not known before the teacher is: the bytes are the most there can be.
    row = float(row_format(vocabulary, np.float16).sizes(np.array(most)))
    disk = positions * (count_type(most).itemsize + row)
    held = size.scoring_bytes(bf16=stage.bf16_teacher)
    return Estimate(
        inputs=inputs,
        texts=texts,
        tokens=inputs * source + positions,
        seconds=STAGE_S + planner.speed.seconds("train", work) + 2 * disk / DISK_BYTES_PER_S,
        # The system also keeps pages of the written cache in memory, as long as nothing else needs it.
        memory_bytes=PROCESS_BYTES + held + 4 * LOGITS_COPIES * min(MAX_LOGITS, BATCH_TOKENS * size.vocabulary),
        disk_bytes=disk,
    )


def predictions(stage: PredictionsStage, planner: Planner) -> Estimate:
    """What a system generates for dev and test."""
    network, (source, target) = stage.converted.network, planner.lengths
    counts = planner.task.facts.counts
    inputs = sum(counts[split] for split in SCORED_SPLITS)
    seconds = STAGE_S + planner.generation(network, stage.decoding, inputs)
    if stage.likelihood:
        references = {split: planner.references(split) for split in SCORED_SPLITS}
        seconds += planner.likelihood(network, sum(references.values()) + references["dev"])  # dev: top tokens too
    return Estimate(
        inputs=inputs,
        texts=inputs,
        tokens=inputs * (source + target),
        seconds=seconds,
        memory_bytes=PROCESS_BYTES + planner.size(network).bytes,
        disk_bytes=inputs * target * POOL_TOKEN_BYTES,
    )


def texts_again(stage: ConfidencesStage, planner: Planner) -> Estimate:
    """The predictions of a system, generated again."""
    own = stage.system.predictions
    assert isinstance(own, PredictionsStage)  # noqa: S101 - the system has a network
    return predictions(replace(own, likelihood=False), planner)


def benchmark(stage: BenchmarkStage, planner: Planner) -> Estimate:
    """Latency and throughput of each system, each in a process of its own."""
    own = stage.settings
    batched = THROUGHPUT_PASSES * 4 * own.batch_inputs
    inputs = own.latency_inputs + batched
    seconds = sum(
        PROCESS_START_S
        + planner.generation(converted.network, own.decoding, own.latency_inputs, alone=True)
        + planner.generation(converted.network, own.decoding, batched, threads=1)
        for _, converted in stage.systems
    )
    memory = max((planner.size(converted.network).bytes for _, converted in stage.systems), default=0)
    return Estimate(inputs=inputs, seconds=own.repeats * seconds, memory_bytes=2 * PROCESS_BYTES + memory)


def scores(stage: ScoresStage, planner: Planner) -> Estimate:
    """All metrics of all systems."""
    texts = len(stage.systems) * sum(planner.task.facts.counts[split] for split in SCORED_SPLITS)
    return Estimate(inputs=texts, seconds=texts * SCORES_S_PER_PREDICTION, disk_bytes=1e6)


ESTIMATES: dict[type[Stage[Any]], Callable[[Any, Planner], Estimate]] = {
    TeacherStage: training,
    FineTunedStage: training,
    FinalFinetuneStage: training,
    StudentStage: training,
    LayerOrderStage: layers_by_loss,
    ConversionStage: conversion,
    PseudoTargetsStage: pseudo_targets,
    TeacherLogprobsStage: logprobs,
    PredictionsStage: predictions,
    ConfidencesStage: texts_again,
    BenchmarkStage: benchmark,
    ScoresStage: scores,
}
"""Stages that are not here take seconds and little memory."""
