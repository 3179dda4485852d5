"""Exports a system of a finished run: writes it, proves its texts against the evaluated ones, and describes both."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from understudy.config.decoding import Decoding
from understudy.config.model_sections import PretrainedStudent, PretrainedTeacher, PrunedStudent, ScratchTeacher
from understudy.config.recipe import Recipe
from understudy.errors import GenerationError, StoreError
from understudy.evaluation.bootstrap import advantage, resample_weights
from understudy.evaluation.metrics import SystemOutputs, can_score, result_name, tally
from understudy.evaluation.predictions import read_predictions
from understudy.generation.workspace import private_folder
from understudy.models.checkpoint import config_of
from understudy.pipeline.context import NETWORK
from understudy.pipeline.delivery import STUDENT
from understudy.pipeline.inspect.deploy import deployment
from understudy.pipeline.inspect.open import OpenedRun, open_run
from understudy.pipeline.metric_settings import load_metrics, metric_settings
from understudy.pipeline.teacher_outputs import endpoint_of
from understudy.progress import NoProgress, Progress
from understudy.records import Prediction
from understudy.report.facts import TEACHER
from understudy.serving.card import CardContent, Proof, Statements, model_card, terms_warning
from understudy.serving.deployment import Deployment
from understudy.serving.export import check_export, exported_texts, remarks_of, write_export
from understudy.serving.export_target import export_target
from understudy.store.disk import disk_errors, make_folder, publish, write_text

CARD = "README.md"
QUIET = NoProgress()


@dataclass(frozen=True, slots=True)
class Export:
    """A written export."""

    folder: Path
    precision: str
    proof: Proof
    warning: str | None
    """What the user should know before the export is passed on."""


def export_run(
    folder: str | Path,
    name: str,
    *,
    precision: str | None = None,
    out: str | Path | None = None,
    system: str = STUDENT,
    statements: Statements | None = None,
    allow_code: bool = False,
    progress: Progress = QUIET,
) -> Export:
    """Write a system of a run in a format, generate the test set with the written files, and add the model card.

    Args:
        folder: of the run.
        name: of the format, a key of `serving.export.EXPORTS`.
        precision: type of the weights; None: the format's first.
        out: the new folder, which is complete or absent; None: `export-FORMAT-PRECISION` in the run's folder.
        system: as in `deployment`.
        statements: licences and what else only the user knows.
        allow_code: whether metrics of the user's own may be imported.
        progress: is informed about the generated texts.

    Raises:
        ConfigError: for an unknown format, precision or system.
        GenerationError: if the format does not have the model or its prompt.
        StoreError: if there is no finished run, a stage of it was deleted, or `out` exists or cannot be written.
    """
    precision, run, given = check_export(name, precision), open_run(folder), statements or Statements()
    found = deployment(folder, system)
    _refuse_other_prompt(run, found)
    final = Path(out) if out is not None else run.folder / f"export-{name}-{precision}"
    if os.path.lexists(final):
        raise StoreError(f"{final} exists, and an export overwrites nothing; name another folder with --out")
    evaluated = read_predictions(run.predictions(found.system) / "test.jsonl")
    make_folder(final.parent)
    with disk_errors(final.parent), private_folder(final.parent, final.name) as partial:
        target = export_target(found, precision, partial)
        write_export(name, target)
        sources = [one.source for one in evaluated]
        with progress.track(f"the export generates test as {name}", len(sources), "input") as tracked:
            texts = exported_texts(name, target, sources, progress=tracked)
        proof = _proof(run, evaluated, texts, allow_code=allow_code)
        content = _content(run, found, name, precision, proof)
        write_text(partial / CARD, model_card(run.facts, content, given))
        publish(partial, final)
    return Export(final, precision, proof, terms_warning(run.facts, given))


def _refuse_other_prompt(run: OpenedRun, found: Deployment) -> None:
    teacher = run.recipe.teacher
    if found.system == TEACHER and isinstance(teacher, PretrainedTeacher) and teacher.has_own_prompt:
        raise GenerationError(
            "the teacher of this run reads a prompt of its own, which an export cannot hold; export the student"
        )


def _proof(run: OpenedRun, evaluated: Sequence[Prediction], texts: Sequence[str], *, allow_code: bool) -> Proof:
    """The number of equal texts, and the difference in the first metric that texts alone can be scored with."""
    equal = sum(one.text == text for one, text in zip(evaluated, texts, strict=True))
    proof = Proof(len(texts), equal)
    if equal == len(texts):
        return proof
    recipe = run.recipe
    names, weights_RN = (
        recipe.task.metrics,
        resample_weights(len(texts), resamples=recipe.evaluation.resamples, seed=recipe.seed),
    )
    before = SystemOutputs(evaluated)
    after = SystemOutputs([replace(one, text=text) for one, text in zip(evaluated, texts, strict=True)])
    metrics = load_metrics(list(map(result_name, names)), metric_settings(recipe.task, names), allow_code=allow_code)
    primary = run.facts["primary_metric"]
    for metric, resource in sorted(metrics.values(), key=lambda pair: pair[0].name != primary):
        if can_score(metric, before):
            gain = advantage(tally(metric, after, resource), tally(metric, before, resource), weights_RN)
            return replace(proof, metric=metric.name, difference=gain.value, low=gain.low, high=gain.high)
    return proof


def _content(run: OpenedRun, found: Deployment, name: str, precision: str, proof: Proof) -> CardContent:
    recipe = run.recipe
    return CardContent(
        name=found.run,
        system=found.system,
        format=name,
        precision=precision,
        decoding=_in_words(found.decoding),
        prompt=found.limits.prompt
        if found.limits.system is None
        else f"{found.limits.system}\n\n{found.limits.prompt}",
        limits=(found.limits.max_source_tokens, found.limits.max_target_tokens),
        teacher=_teacher_origin(recipe),
        start=_teacher_origin(recipe) if found.system == TEACHER else _student_origin(recipe),
        families=_families(run, found),
        proof=proof,
        remarks=remarks_of(name, found.decoding),
    )


def _in_words(decoding: Decoding) -> str:
    settings = ", ".join(f"{key} {value}" for key, value in decoding.model_dump().items() if key != "kind")
    return decoding.kind + (f" ({settings})" if settings else "")


def _teacher_origin(recipe: Recipe) -> str:
    teacher = recipe.teacher
    match teacher:
        case PretrainedTeacher():
            return f"{teacher.model}, {'fine-tuned' if teacher.finetune else 'as it is'}"
        case ScratchTeacher():
            return f"a {teacher.scratch.architecture} network trained on the task from random weights"
        case _:
            return f"{teacher.endpoint.model}, behind an API"


def _student_origin(recipe: Recipe) -> str:
    student = recipe.student
    match student:
        case PretrainedStudent():
            return student.model
        case PrunedStudent():
            return f"the teacher ({_teacher_origin(recipe)}), pruned"
        case _:
            return f"a {student.scratch.architecture} network with random weights"


def _families(run: OpenedRun, found: Deployment) -> tuple[str, ...]:
    """The families of what was pretrained: of the exported network, and of the teacher whose texts it learned from."""
    teacher, student, families = run.recipe.teacher, run.recipe.student, list[str]()
    pretrained = isinstance(teacher, PretrainedTeacher)
    if isinstance(student, PretrainedStudent) or (isinstance(student, PrunedStudent) and pretrained):
        families.append(config_of(str(found.checkpoint)).model_type)
    if endpoint := endpoint_of(run.recipe):
        served = endpoint.model.lower()
        families += [family for family in ("llama", "gemma") if family in served]
    elif pretrained and TEACHER in run.stages:
        families.append(config_of(str(run.stage(TEACHER) / NETWORK)).model_type)
    return tuple(dict.fromkeys(families))
