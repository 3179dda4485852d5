"""What the stages in which a network is trained have in common: their settings, their facts, and one training."""

import operator
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from understudy.config.decoding import Decoding, EngineName
from understudy.config.objectives import TAID, AnyObjective, CrossEntropy
from understudy.config.training import Training
from understudy.executors._memory import trim
from understudy.models.adapters import add_adapter
from understudy.models.checkpoint import parameter_count, save_network
from understudy.models.task_tokenizer import TaskTokenizer, TextLimits
from understudy.objectives import objective_of
from understudy.pipeline.context import NETWORK, default_device
from understudy.pipeline.metric_settings import MetricSettings, load_metrics
from understudy.ranks import Ranks
from understudy.records import Example, LeftOut
from understudy.store import WorkerContext
from understudy.store.disk import read_json, write_json
from understudy.store.manifest import parse
from understudy.training.dev_scoring import DevScorer
from understudy.training.loop import train
from understudy.training.mixture import Mixture
from understudy.training.rounds import SampleStudent, no_student_samples
from understudy.training.schedules import TAIDSchedule
from understudy.training.spec import BoundObjective, DevScoring, LossSpec, TeacherSpec, TrainSpec
from understudy.training.state import TrainState
from understudy.training.step import AutocastPrecision
from understudy.training.targets_per_source import described

RESULT = "training.json"
"""Written when a training is done, so that a run that is killed while it deletes checkpoints does not train again."""
WORKSPACE = "workspace"


@dataclass(frozen=True)
class DevSettings:
    """How dev is scored while a network is trained."""

    metric: str
    settings: MetricSettings
    decoding: Decoding
    inputs: int | None
    engine: EngineName


@dataclass(frozen=True)
class TrainingSettings:
    """The settings that every training has."""

    training: Training
    seed: int
    precision: AutocastPrecision
    limits: TextLimits
    dev: DevSettings


@dataclass(frozen=True)
class TrainingFacts:
    """How a training went; all but `seconds` is zero or empty for a network that is used as it is."""

    history: tuple[dict[str, float], ...] = ()
    """One row per dev evaluation."""
    best_step: int = 0
    still_improving: bool = False
    steps: int = 0
    warmup_steps: int = 0
    dev_moved: bool = True
    """Whether dev scores differed; with a single one there is nothing to differ from."""
    seconds: float = 0.0
    rounds_per_epoch: int = 1
    trained_parameters: int | None = None
    """Of the network's, those that training changed; None for a network that is used as it is."""
    targets_per_source: str | None = None
    """How `targets_per_source: auto` was resolved; None for a number of the recipe."""
    left_out: tuple[LeftOut, ...] = ()
    """Target texts that were not learned, or not completely, because of their length."""


def nothing_cut() -> tuple[LeftOut, ...]:
    """For a training without a teacher that has another tokenizer."""
    return ()


@dataclass(frozen=True)
class NetworkTraining:
    """One training of a run, with everything loaded."""

    title: str
    network: PreTrainedModel
    tokenizer: TaskTokenizer
    mixture: Mixture
    dev: Sequence[Example]
    settings: TrainingSettings
    loss: LossSpec | None = None
    """None: cross-entropy on the targets."""
    teacher: TeacherSpec = field(default_factory=TeacherSpec)
    sample_student: SampleStudent = no_student_samples
    evaluate_start: bool = False
    cut_for_teacher: Callable[[], tuple[LeftOut, ...]] = nothing_cut
    """Counts, after the training, the texts that were cut because they are too long in the teacher's tokens."""


def resumable(folder: Path, context: WorkerContext, load: Callable[[], NetworkTraining]) -> TrainingFacts:
    """The facts of a training that is done in `folder`, now or by an interrupted attempt; checkpoints are removed.

    Ranks other than 0 train with it and write nothing; their facts are empty.
    """
    if not (folder / RESULT).exists():
        ranks = context.begin_on_all_ranks(folder)
        job = load()
        trim()
        _train(folder, context, job, ranks)
        if not ranks.is_first:
            return TrainingFacts()
    for remains in (*folder.glob("checkpoint-*"), *folder.glob("best-*"), *folder.glob(WORKSPACE)):
        shutil.rmtree(remains)
    return parse(TrainingFacts, read_json(folder / RESULT), folder)


def _train(folder: Path, context: WorkerContext, job: NetworkTraining, ranks: Ranks) -> None:
    settings, training = job.settings, job.settings.training
    if training.lora:
        add_adapter(job.network, training.lora, seed=settings.seed)
    spec = _spec(folder, context, job)
    with context.progress.track(job.title, training.epochs * job.mixture.rounds_per_epoch, "round") as progress:
        state = train(
            job.network,
            job.mixture,
            spec,
            settings=training,
            seed=settings.seed,
            precision=settings.precision,
            device=torch.device(default_device()),
            pad=job.tokenizer.pad_id,
            folder=folder,
            sample_student=job.sample_student,
            progress=progress,
            ranks=ranks,
        )
    if ranks.is_first:
        _write(folder, context, job, spec, state)


def _write(folder: Path, context: WorkerContext, job: NetworkTraining, spec: TrainSpec, state: TrainState) -> None:
    """The trained network, then the facts, with which the training is done."""
    training = job.settings.training
    save_network(job.network, job.tokenizer.tokenizer, folder / NETWORK)
    scores = [row[spec.dev.metric] for row in state.history]
    dev_moved = len(scores) == 1 or len(set(scores)) > 1
    if not dev_moved:
        context.progress.log(
            f"{job.title}: dev {spec.dev.metric} never moved, it was {scores[0]:.2f} at all {len(scores)} evaluations; "
            f"kept are the weights of step {state.best_step}"
        )
    averaged = training.keep_weights == "average"
    facts: dict[str, Any] = {
        "history": state.history,
        "best_step": state.best_step,
        "still_improving": still_improving(scores, higher_is_better=spec.dev.higher_is_better, averaged=averaged),
        "steps": state.step,
        "warmup_steps": training.warmup_steps,
        "dev_moved": dev_moved,
        "seconds": state.seconds,
        "rounds_per_epoch": job.mixture.rounds_per_epoch,
        "trained_parameters": parameter_count(job.network, trained=True),
        "targets_per_source": described(job.mixture),
        "left_out": [asdict(one) for one in _left_out(job)],
    }
    write_json(folder / RESULT, facts)


def _left_out(job: NetworkTraining) -> Iterator[LeftOut]:
    for targets in job.mixture.targets.values():
        yield from targets.left_out
    yield from job.cut_for_teacher()


def _spec(folder: Path, context: WorkerContext, job: NetworkTraining) -> TrainSpec:
    """The loss, the teacher and the scoring of dev; the log has what `auto` was resolved to."""
    if resolved := described(job.mixture):
        context.progress.log(f"{job.title}: {resolved}")
    dev = job.settings.dev
    metric, resource = load_metrics([dev.metric], dev.settings, allow_code=context.allow_code)[dev.metric]
    scorer = DevScorer(
        metric,
        resource,
        job.tokenizer,
        job.dev[: dev.inputs],
        dev.engine,
        dev.decoding,
        folder / WORKSPACE,
        with_loss=job.settings.training.keep_weights == "best",
    )
    return TrainSpec(
        loss=job.loss or LossSpec(bind(CrossEntropy()), len(job.tokenizer.tokenizer)),
        teacher=job.teacher,
        dev=DevScoring(scorer, metric.name, metric.higher_is_better, evaluate_start=job.evaluate_start),
    )


def still_improving(scores: Sequence[float], *, higher_is_better: bool, averaged: bool) -> bool:
    """Whether the last of several dev scores was the best, so that training may have ended too soon.

    The mean of the weights is scored once, at the end, and may be better than each of them: that is no progress.
    """
    scores = scores[:-1] if averaged else scores
    better = operator.gt if higher_is_better else operator.lt
    return len(scores) > 1 and all(better(scores[-1], score) for score in scores[:-1])


def bind(requested: AnyObjective, *, allow_code: bool = False) -> BoundObjective:
    """An objective with its settings as keyword arguments."""
    return BoundObjective(*objective_of(requested, allow_code=allow_code))


def taid_schedule(requested: Sequence[AnyObjective | None]) -> TAIDSchedule | None:
    """How the target of TAID moves; the first objective that is TAID decides."""
    return next((TAIDSchedule(**one.model_dump(exclude={"kind"})) for one in requested if isinstance(one, TAID)), None)
