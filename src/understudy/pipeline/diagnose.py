"""A finished run, looked into: both students beside the teacher, and what the teacher's layers cost."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

from understudy.config.model_sections import EndpointTeacher
from understudy.config.recipe import Recipe
from understudy.errors import EvaluationError, ModelError
from understudy.evaluation.depths import cost_by_depth, layers_of, thinner
from understudy.generation.engine import cores
from understudy.pipeline.bench import STORE, Bench, device_here, fast_precision
from understudy.pipeline.beside import (
    PASSES,
    PERCENTS,
    SAMPLES,
    diagnosis,
    metric_of,
    refuse_other_tokens,
    side_of,
)
from understudy.pipeline.data import read_data
from understudy.pipeline.measure import THREADS, few_threads
from understudy.pipeline.open import OpenedRun, open_run
from understudy.pipeline.run import QUIET
from understudy.progress import Progress
from understudy.records import Example
from understudy.report.diagnostic_page import write_diagnostics
from understudy.report.diagnostics import DepthFacts, Depths, Diagnostics, StudentDiagnosis
from understudy.report.facts import FINE_TUNED, TEACHER
from understudy.store import Finished, Store
from understudy.store.disk import read_json, write_json

INPUTS = 200
DEPTH_INPUTS = 8
FACTS = "diagnosis.json"


def diagnose(folder: Path, *, inputs: int = INPUTS, pruned: bool = False, progress: Progress = QUIET) -> Diagnostics:
    """Looks into a finished run and writes `diagnostics.json` and `diagnostics.html` into its folder.

    What was measured before, for this run or another with the same networks, is not measured again.

    Args:
        folder: of the run.
        inputs: at most so many dev inputs.
        pruned: also measure the teacher with fewer layers; what an earlier call measured is told in any case.
        progress: hears about long work.

    Raises:
        EvaluationError: for less than one input.
        StoreError: if the folder holds no finished run.
        VocabularyError: if teacher and student do not share their tokens.
        ModelError: if the teacher stands behind an endpoint.
    """
    if inputs < 1:
        raise EvaluationError(f"diagnostics of {inputs} inputs were asked for; ask for at least 1")
    opened = open_run(folder)
    recipe = opened.recipe
    if isinstance(recipe.teacher, EndpointTeacher):
        raise ModelError(
            f"diagnostics ask the teacher what it makes of the student's texts, and that of {recipe.name} stands "
            "behind an endpoint, which only writes; its report says how far the student agrees with it"
        )
    bench = Bench(recipe, Store(folder.parent / STORE), progress, fast_precision(recipe.precision))
    examples = read_data(opened.stages["data"]).dev[:inputs]
    teacher = _shipped(opened, TEACHER)
    students = {name: _shipped(opened, name) for name in (FINE_TUNED, recipe.distil.method)}
    made = {
        name: make_diagnosis(bench, name, examples, {"data": opened.stages["data"], TEACHER: teacher, "student": own})
        for name, own in students.items()
    }
    facts: Diagnostics = {
        "run": recipe.name,
        "method": recipe.distil.method,
        "inputs": len(examples),
        "metric": metric_of(recipe),
        "students": {name: cast(StudentDiagnosis, read_json(own.folder / FACTS)) for name, own in made.items()},
        "pool": opened.facts.get("pool", {}),
    }
    facts["pool"].pop("samples", None)  # the report shows them
    measured = _depth_settings(recipe, examples[:DEPTH_INPUTS])
    if pruned or bench.store.found("depths", settings=measured, inputs={TEACHER: teacher}):
        stage = make_depths(bench, teacher, examples[:DEPTH_INPUTS])
        facts["depths"] = cast(Depths, read_json(stage.folder / FACTS))
    write_json(folder / "diagnostics.json", facts)
    write_diagnostics(facts, folder)
    return facts


def make_diagnosis(bench: Bench, name: str, examples: Sequence[Example], inputs: Mapping[str, Finished]) -> Finished:
    """The stage of one student beside the teacher; `inputs` holds data, teacher and student."""
    recipe = bench.recipe
    settings = {
        "inputs": len(examples),
        "percents": PERCENTS,
        "samples": SAMPLES,
        "seed": recipe.seed,
        "engine": recipe.engine,
        "resamples": recipe.evaluation.resamples,
        "metric": metric_of(recipe),
        "task": recipe.task.model_dump(include={"prompt", "max_target_tokens", "bertscore"}),
    }

    def work(folder: Path) -> Mapping[str, object]:
        teacher, student = (side_of(recipe, inputs[who], examples) for who in (TEACHER, "student"))
        data = inputs["data"].key[:8]
        refuse_other_tokens(teacher.reader, student.reader)
        with bench.progress.track(f"{name} beside its teacher", PASSES * len(examples), "text") as advance:
            write_json(folder / FACTS, diagnosis(recipe, teacher, student, examples, data=data, advance=advance))
        return {}

    return bench.store.stage("diagnosis", settings=settings, inputs=inputs, work=work)


def make_depths(bench: Bench, teacher: Finished, examples: Sequence[Example]) -> Finished:
    """The stage of what the teacher would cost with fewer layers."""
    recipe, device = bench.recipe, device_here()
    settings = _depth_settings(recipe, examples)
    lengths = cast(list[int], settings["lengths"])

    def work(folder: Path) -> Mapping[str, object]:
        side = side_of(recipe, teacher, examples)
        depths = thinner(layers_of(side.network))
        with (
            bench.progress.track("latency by depth and length", len(depths) * len(lengths), "measurement") as advance,
            few_threads(),
        ):
            costs = cost_by_depth(
                side.network,
                depths=depths,
                lengths=lengths,
                sources=side.sources,
                end=side.end,
                pad=side.reader.pad,
                advance=advance,
            )
        facts: Depths = {
            "how": (
                f"hf on {device}, {THREADS} thread{'s' * (THREADS != 1)}, decoding greedy, latency of {len(examples)} "
                f"inputs at batch 1, throughput at batch {len(examples)}"
            ),
            "costs": [cast(DepthFacts, asdict(cost)) for cost in costs],
        }
        write_json(folder / FACTS, facts)
        return {}

    return bench.store.stage("depths", settings=settings, inputs={TEACHER: teacher}, work=work)


def _depth_settings(recipe: Recipe, examples: Sequence[Example]) -> dict[str, object]:
    longest = recipe.task.max_target_tokens
    return {
        "lengths": sorted({max(1, longest // part) for part in (8, 4, 2, 1)}),
        "sources": [example.source for example in examples],
        "prompt": recipe.task.prompt,
        # The cost on another machine is another result.
        "machine": [platform.machine(), device_here(), cores(), THREADS],
    }


def _shipped(opened: OpenedRun, name: str) -> Finished:
    """The stage of the network a system answered with: the last of its lessons."""
    key = opened.stages[f"answers_{name}"].manifest.inputs["system"]
    return next(stage for stage in opened.stages.values() if stage.key == key)
