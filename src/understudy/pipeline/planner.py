"""What all estimates of a plan are made from: sizes, lengths, engines, and how long each kind of work takes."""

import math
from dataclasses import dataclass
from typing import Any

from understudy.config.decoding import Beam, DiverseBeam, KBeams, PoolDecoding
from understudy.executors.local import Local
from understudy.generation import ENGINES, resolve_engine
from understudy.generation.engine import allowed_threads
from understudy.models.tokenizers import load_tokenizer
from understudy.pipeline.calibration import NO_SPEED, Speed
from understudy.pipeline.context import RunContext, default_device
from understudy.pipeline.delivery import dependencies_first
from understudy.pipeline.model_sources import FromCheckpoint, TokenizerSource, checkpoint_path
from understudy.pipeline.network_size import NetworkSize, network_size
from understudy.pipeline.prepare import PreparedTask
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.student import StudentStage
from understudy.pipeline.stages.training import TrainingSettings
from understudy.pipeline.stages.training_steps import StepsFacts
from understudy.pipeline.starts import Trains, start_of_stage, steps_stage
from understudy.pipeline.work import conversion_work, generation_work, training_work
from understudy.store import Stage

DISK_BYTES_PER_S = 200e6
CHECKPOINT_WEIGHTS = 4
"""Weights, both moments, and the weights to keep."""
SCORE_S = 0.0002
"""Of one metric, for one text."""
LIKELIHOOD_BATCH = 16
ENGINE_BATCH_TOKENS = {"ctranslate2": 1_024, "hf": 16_384}
"""Source tokens of a batch of each engine."""


@dataclass(frozen=True)
class Planner:
    """What all estimates are made from."""

    task: PreparedTask
    context: RunContext
    speed: Speed
    lengths: tuple[float, float]
    """Mean tokens of a source and of a target."""

    def size(self, network: Stage[Any]) -> NetworkSize:
        """The size of the network of a stage; no weights are loaded."""
        return network_size(start_of_stage(network), self.task.limits, self.context)

    def vocabulary(self, source: TokenizerSource) -> int:
        """The number of tokens of a tokenizer."""
        return len(load_tokenizer(checkpoint_path(source.tokens, self.context)))

    def engine(self, network: Stage[Any]) -> str:
        """The engine that the network will generate with."""
        requested, source = self.task.recipe.engine, start_of_stage(network).source
        if isinstance(source, FromCheckpoint):
            return resolve_engine(requested, checkpoint_path(source.checkpoint, self.context))
        return "ctranslate2" if requested == "auto" else requested

    def steps(self, stage: Trains) -> StepsFacts | None:
        """The size of a training; counting takes seconds and is cached."""
        counted = steps_stage(stage, self.task.limits)
        return self.context.store.get(counted, Local(), self.context) if counted else None

    def opening(self, network: Stage[Any]) -> float:
        """Seconds until an engine is open with a network that it does not know yet."""
        return self.speed.seconds("convert", conversion_work(self.size(network))) if self.converts(network) else 0.0

    def converts(self, network: Stage[Any]) -> bool:
        """Whether the engine has a form of its own for the network."""
        return ENGINES[self.engine(network)].convert is not None

    def generation(
        self,
        network: Stage[Any],
        decoding: PoolDecoding,
        inputs: float,
        texts: float = 1,
        *,
        alone: bool = False,
        threads: int = 0,
    ) -> float:
        """Seconds of generating so many texts for each of so many inputs, all at once or each input alone."""
        engine = "hf" if isinstance(decoding, DiverseBeam) else self.engine(network)
        engine = engine if engine in ENGINE_BATCH_TOKENS else "hf"  # one whose speed is not measured
        source, target = self.lengths
        beams = max(1.0, decoding.beams if isinstance(decoding, Beam | KBeams) else texts)
        batches = inputs if alone else math.ceil(inputs * beams * source / ENGINE_BATCH_TOKENS[engine])
        work = generation_work(
            self.size(network),
            source_tokens=inputs * source,
            target_tokens=inputs * target,
            beams=beams,
            calls=batches * target,
        )
        shared = engine == "ctranslate2" and default_device() == "cpu" and not alone
        return self.speed.seconds(engine, work) / max(1, min(threads or allowed_threads(), batches) if shared else 1)

    def evaluation(self, stage: Trains, settings: TrainingSettings) -> float:
        """Seconds of scoring dev once while a network is trained, and of the checkpoint that follows."""
        dev = settings.dev
        inputs = self.task.facts.counts["dev"] if dev.inputs is None else dev.inputs
        return (
            self.opening(stage)
            + self.generation(stage, dev.decoding, inputs)
            + inputs * SCORE_S
            + (self.likelihood(stage, inputs) if settings.training.keep_weights == "best" else 0.0)
            + CHECKPOINT_WEIGHTS * self.size(stage).bytes / DISK_BYTES_PER_S
        )

    def references(self, split: str) -> int:
        """Number of references of an evaluated split."""
        examples = load_split(self.context.folder(self.task.examples), split)
        return sum(len(example.targets) for example in examples)

    def likelihood(self, network: Stage[Any], inputs: float) -> float:
        """Seconds of computing the likelihood of so many references."""
        source, target = self.lengths
        work = training_work(
            self.size(network),
            source_tokens=inputs * source,
            target_tokens=inputs * target,
            batches=inputs / LIKELIHOOD_BATCH,
            passes=1.0,
        )
        return self.speed.seconds("train", work)


def planner_of(task: PreparedTask, last: Stage[Any], context: RunContext, speed: Speed = NO_SPEED) -> Planner:
    """What the estimates of a run are made from; texts are as long as those that its student learns.

    Args:
        task: of the run.
        last: the stage that needs all others.
        context: of the run.
        speed: of this machine; without it, seconds are 0 and the rest is right.
    """
    student = [stage for stage in dependencies_first(last) if isinstance(stage, StudentStage)][-1]
    counted = steps_stage(student, task.limits)
    assert counted is not None  # noqa: S101 - a student is always trained
    facts = context.store.get(counted, Local(), context)
    return Planner(task, context, speed, (facts.source_length, facts.target_length))
