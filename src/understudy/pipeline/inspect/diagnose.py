"""Diagnoses a finished run: both students against the teacher, and what the teacher's layers cost."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from understudy.config.decoding import EngineName
from understudy.errors import EvaluationError, ModelError
from understudy.evaluation.depths import cost_by_depth, layers_of, reduced_depths
from understudy.evaluation.metrics import metric_named, result_name
from understudy.executors.local import Local
from understudy.models.task_tokenizer import TextLimits
from understudy.models.text import saved_source_format
from understudy.models.tokenizers import load_tokenizer
from understudy.pipeline.context import NETWORK, RunContext, default_device, run_context
from understudy.pipeline.delivery import guarded
from understudy.pipeline.inspect.open import OpenedRun, open_run
from understudy.pipeline.inspect.student_vs_teacher import (
    PASSES,
    PERCENTS,
    SAMPLES,
    ComparisonSettings,
    compare_networks,
    load_model,
    refuse_other_tokens,
)
from understudy.pipeline.metric_settings import MetricSettings, metric_settings
from understudy.pipeline.prepare import text_limits
from understudy.pipeline.stages.benchmark import few_threads, this_machine
from understudy.pipeline.stages.data import load_split, read_data
from understudy.pipeline.teacher_prompt import teacher_limits
from understudy.progress import NoProgress, Progress
from understudy.report.diagnostic_page import write_diagnostics
from understudy.report.diagnostics import DepthFacts, Depths, Diagnostics, StudentDiagnosis
from understudy.report.facts import FINE_TUNED, TEACHER
from understudy.report.formatting import with_direction
from understudy.store import Stage, WorkerContext
from understudy.store.disk import read_json, write_json
from understudy.store.stage import FinishedStage

INPUTS = 200
DEPTH_INPUTS = 8
FACTS = "diagnosis.json"
QUIET = NoProgress()


@dataclass(frozen=True)
class DiagnosisFacts:
    """How much was read."""

    inputs: int


@dataclass(frozen=True)
class DiagnosisStage(Stage[DiagnosisFacts]):
    """Exposure bias of one student, and how well the teacher finishes its texts."""

    data: FinishedStage
    teacher: FinishedStage
    student: FinishedStage
    inputs: int
    limits: TextLimits
    seed: int
    engine: EngineName
    resamples: int
    metric: str
    settings: MetricSettings
    device: str
    percents: tuple[int, ...] = PERCENTS
    samples: int = SAMPLES
    teacher_limits: TextLimits | None = None
    """How the teacher reads the task, where it has a prompt of its own."""
    name: ClassVar[str] = "diagnosis"

    def run(self, folder: Path, context: WorkerContext) -> DiagnosisFacts:
        """Compares the student with the teacher on dev.

        Raises:
            VocabularyError: if they do not share their tokens.
        """
        examples = load_split(context.folder(self.data), "dev")[: self.inputs]
        reads = ((self.teacher, self.teacher_limits or self.limits), (self.student, self.limits))
        teacher, student = (
            load_model(context.folder(stage) / NETWORK, limits, examples, self.device) for stage, limits in reads
        )
        refuse_other_tokens(teacher.tokenizer, student.tokenizer)
        comparison = ComparisonSettings(
            examples, self.limits.max_target_tokens, self.seed, self.engine, self.resamples, self.metric, self.settings,
            self.data.key[:8], folder / "workspace", context.allow_code,
        )  # fmt: skip
        with context.progress.track("compare student and teacher", PASSES * len(examples), "text") as progress:
            write_json(folder / FACTS, compare_networks(teacher, student, comparison, progress))
        return DiagnosisFacts(len(examples))


@dataclass(frozen=True)
class DepthsFacts:
    """What was timed."""

    lengths: tuple[int, ...]


@dataclass(frozen=True)
class DepthsStage(Stage[DepthsFacts]):
    """What the teacher would cost with fewer layers, by output length."""

    data: FinishedStage
    teacher: FinishedStage
    inputs: int
    limits: TextLimits
    machine: tuple[str, ...]
    name: ClassVar[str] = "depths"
    in_caller: ClassVar[bool] = True
    alone: ClassVar[bool] = True

    def run(self, folder: Path, context: WorkerContext) -> DepthsFacts:
        """Times the teacher with fewer and fewer layers."""
        examples = load_split(context.folder(self.data), "dev")[: self.inputs]
        device = default_device()
        model = load_model(context.folder(self.teacher) / NETWORK, self.limits, examples, device)
        depths = reduced_depths(layers_of(model.network))
        lengths = sorted({max(1, self.limits.max_target_tokens // part) for part in (8, 4, 2, 1)})
        measurements = len(depths) * len(lengths)
        with (
            context.progress.track("latency by depth and length", measurements, "measurement") as progress,
            few_threads(),
        ):
            costs = cost_by_depth(
                model.network,
                depths=depths,
                lengths=lengths,
                sources=model.sources,
                eos=model.end,
                pad=model.tokenizer.pad_id,
                progress=progress,
            )
        facts: Depths = {
            "benchmark_conditions": (
                f"hf on {device}, 1 thread, decoding greedy, latency of {len(examples)} "
                f"inputs at batch 1, throughput at batch {len(examples)}"
            ),
            "costs": [cast(DepthFacts, asdict(cost)) for cost in costs],
        }
        write_json(folder / FACTS, facts)
        return DepthsFacts(tuple(lengths))


def diagnose(
    folder: str | Path,
    *,
    inputs: int = INPUTS,
    pruned: bool = False,
    progress: Progress = QUIET,
    allow_code: bool = False,
) -> Diagnostics:
    """Diagnoses a finished run and writes `diagnostics.json` and `diagnostics.html` into its folder.

    What was measured before, for this run or another with the same networks, is reused.

    Args:
        folder: of the run.
        inputs: dev inputs, at most.
        pruned: whether to measure the teacher with fewer layers too; earlier measurements are shown in any case.
        progress: is informed about long work.
        allow_code: whether a metric of the user's own may be imported.

    Raises:
        EvaluationError: for less than one input.
        StoreError: if the folder holds no finished run, or its networks were deleted.
        VocabularyError: if teacher and student do not share their tokens.
        ModelError: if the teacher is behind an API.
    """
    if inputs < 1:
        raise EvaluationError(f"diagnostics of {inputs} inputs were requested; request at least 1")
    opened = open_run(folder)
    recipe = opened.recipe
    if "api_responses" in opened.stages:
        raise ModelError(
            f"diagnostics need the teacher's probabilities of the student's texts, and the teacher of {recipe.name} is "
            "behind an API, which only generates; its report shows how far the student agrees with it"
        )
    metric = text_metric(opened)
    own = metric_named(metric, allow_code=allow_code)  # refused before anything is measured
    label = with_direction(own.label, higher_is_better=own.higher_is_better)
    context = run_context(opened.store.parent, progress, allow_code=allow_code)
    limits = _teacher_limits(opened, context)
    students = {name: _diagnosis_stage(opened, name, inputs, limits) for name in (FINE_TUNED, recipe.distil.method)}
    for stage in students.values():
        context.store.get(stage, Local(), context)
    facts: Diagnostics = {
        "run": recipe.name,
        "method": recipe.distil.method,
        "inputs": len(_dev(opened)[:inputs]),
        "metric": result_name(metric),
        "metric_label": label,
        "students": {
            name: cast(StudentDiagnosis, read_json(context.folder(stage) / FACTS)) for name, stage in students.items()
        },
        "pool": opened.facts.get("pool", {}),
    }
    facts["pool"].pop("samples", None)  # the report shows them
    depths = DepthsStage(
        opened.finished("data"), opened.finished(TEACHER), DEPTH_INPUTS, text_limits(recipe), this_machine()
    )
    if pruned:
        context.store.get(depths, Local(), context)
    if context.store.finished(depths):
        facts["depths"] = cast(Depths, read_json(context.folder(depths) / FACTS))
    with guarded(opened.folder):
        write_json(opened.folder / "diagnostics.json", facts)
        write_diagnostics(facts, opened.folder)
    return facts


def text_metric(opened: OpenedRun) -> str:
    """The first metric that reads texts, the primary one before all others."""
    task = opened.recipe.task
    return next(name for name in (task.primary_metric, *task.metrics, "bleu") if name != "nll")


def _teacher_limits(opened: OpenedRun, context: RunContext) -> TextLimits | None:
    """How the teacher of a run reads the task, where it has a prompt of its own.

    Raises:
        ModelError: if it continues demonstrations in plain text: its texts would not end.
    """
    tokenizer = load_tokenizer(str(opened.stage(TEACHER) / NETWORK))
    trained = getattr(opened.recipe.teacher, "finetune", None) is not None
    limits = teacher_limits(opened.recipe, context, saved_source_format(tokenizer), trained=trained)
    if limits and limits.stop:
        raise ModelError(
            "diagnostics let the teacher finish texts, and a teacher that continues demonstrations in plain text does "
            "not end them; diagnose a run whose teacher has a chat template or is fine-tuned"
        )
    return limits


def _diagnosis_stage(opened: OpenedRun, name: str, inputs: int, limits: TextLimits | None) -> DiagnosisStage:
    recipe = opened.recipe
    metric = text_metric(opened)
    return DiagnosisStage(
        opened.finished("data"),
        opened.finished(TEACHER),
        opened.finished(name),
        min(inputs, len(_dev(opened))),
        text_limits(recipe),
        recipe.seed,
        recipe.engine,
        recipe.evaluation.resamples,
        result_name(metric),
        metric_settings(recipe.task, [metric]),
        default_device(),
        teacher_limits=limits,
    )


def _dev(opened: OpenedRun) -> Sequence[Any]:
    return read_data(opened.stage("data")).dev
