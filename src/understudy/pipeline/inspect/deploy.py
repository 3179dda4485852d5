"""A system of a finished run as a deployment, which answers new inputs as it was evaluated."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from understudy.config.endpoint import Endpoint
from understudy.config.read import check_endpoint
from understudy.config.task import FilesTask
from understudy.errors import ConfigError, StoreError, unknown_name
from understudy.evaluation.predictions import read_predictions
from understudy.models.task_tokenizer import TextLimits
from understudy.pipeline.context import NETWORK
from understudy.pipeline.delivery import STUDENT
from understudy.pipeline.inspect.open import OpenedRun, open_run
from understudy.pipeline.prepare import text_limits
from understudy.pipeline.stages.confidences import ConfidencesStage, read_confidences
from understudy.pipeline.teacher_outputs import endpoint_of
from understudy.report.facts import TEACHER
from understudy.serving.confidence import Calibration, DeferralPoint, SystemConfidence
from understudy.serving.deployment import Deployment
from understudy.serving.drift import DevTexts
from understudy.serving.requests import MOST_TEXTS, RequestForm
from understudy.store.manifest import parse, read_manifest
from understudy.tasks.task_records import RecordSettings

RECORDED = "teacher"
"""In place of an address: the one of the run's own teacher."""


def deployment(folder: str | Path, system: str = STUDENT) -> Deployment:
    """A system of a finished run.

    Args:
        folder: of the run.
        system: `student` is the distilled one; or a name from the report, such as `teacher` or `fine_tuned`.

    Raises:
        StoreError: if there is no finished run, or the system's network was deleted or is damaged.
        ConfigError: for a system that the run does not have.
    """
    return deployment_of(open_run(folder), system)


def deployment_of(run: OpenedRun, system: str) -> Deployment:
    """As `deployment`, for a run that is open."""
    name = _system_name(run, system)
    network, converted = run.stage(name), run.stage(f"conversion_{name}")
    facts, predictions = read_manifest(converted).facts, run.predictions(name)
    # The prompt that was evaluated: a teacher may have its own, with demonstrations.
    limits = parse(TextLimits, read_manifest(predictions).fields["limits"]["TextLimits"], predictions)
    shared = text_limits(run.recipe)
    own_prompt = (limits.prompt, limits.system, limits.demonstrations) != (shared.prompt, shared.system, None)
    return Deployment(
        run=run.recipe.name,
        system=name,
        key=network.name,
        checkpoint=network / NETWORK,
        conversions=converted,
        engine=str(facts["engine"]),
        decoding=run.recipe.evaluation.decoding,
        limits=limits,
        limits_sources=not own_prompt,
    )


def confidence_of(folder: str | Path, system: str = STUDENT) -> SystemConfidence | None:
    """How sure a system of a finished run is: its calibration, and the curve on dev from which thresholds are chosen.

    None for systems other than the distilled student, and for runs that recorded nothing; `no_confidence` says why.

    Raises:
        StoreError: as `deployment`.
        ConfigError: as `deployment`.
    """
    run = open_run(folder)
    facts = run.facts.get("confidence")
    if facts is None or facts["system"] != _system_name(run, system):
        return None
    curve = (DeferralPoint(**{own.name: point[own.name] for own in fields(DeferralPoint)}) for point in facts["dev"])  # type: ignore[literal-required]
    return SystemConfidence(Calibration(facts["temperature"], facts["offset"]), facts["metric"], tuple(curve))


def no_confidence(folder: str | Path) -> str:
    """Why `confidence_of` is None, as a sentence."""
    run = open_run(folder)
    method = run.facts["method"]
    if "confidence" in run.facts:
        return f"a calibrated probability is known only of the distilled student ({method}) of the run in {run.folder}"
    return (
        f"the run in {run.folder} has no calibrated probability: an earlier version made it, or no metric of its task "
        "scores texts; run its recipe again, which adds it and trains nothing again"
    )


def dev_texts(folder: str | Path, system: str = STUDENT) -> DevTexts:
    """What a system of a finished run generated for dev; confidences are known of the distilled student alone.

    Raises:
        StoreError: as `deployment`.
        ConfigError: as `deployment`.
    """
    run = open_run(folder)
    name = _system_name(run, system)
    sources = [one.source for one in read_predictions(run.predictions(name) / "dev.jsonl")]
    recorded = []
    if name == run.facts["method"] and ConfidencesStage.name in run.stages:
        recorded = read_confidences(run.stage(ConfidencesStage.name), "dev")
    return DevTexts(tuple(sources), tuple(one.confidence for one in recorded), tuple(one.tokens for one in recorded))


def record_settings(folder: str | Path) -> RecordSettings:
    """How the files of a run's task are read: the names of the columns, the format of conversations."""
    task = open_run(folder).recipe.task
    return RecordSettings(task.fields, task.format) if isinstance(task, FilesTask) else RecordSettings()


def request_form(folder: str | Path, *, ignores_system: bool = False) -> RequestForm:
    """How a request to a server becomes a source: with the prompts of the task and of the run's teacher.

    Args:
        folder: of the run.
        ignores_system: whether unknown system messages are left out instead of refused.
    """
    recipe = open_run(folder).recipe
    asked = getattr(recipe.teacher, "endpoint", recipe.teacher)
    prompts = (recipe.task.prompt, getattr(asked, "prompt", None))
    systems = (recipe.task.system, getattr(asked, "system", None))
    return RequestForm(
        tuple(dict.fromkeys(filter(None, prompts))), tuple(dict.fromkeys(filter(None, systems))), ignores_system
    )


def teacher_endpoint(
    folder: str | Path, url: str, changes: Mapping[str, object], overrides: Sequence[str] = ()
) -> Endpoint:
    """The endpoint that answers for a run's student: that of the run's teacher where it has one.

    Args:
        folder: of the run.
        url: its address; `teacher` is the one that the run recorded.
        changes: settings that replace those of the run.
        overrides: the same, of the form `price.input=0.15`.

    Raises:
        ConfigError: if the run's teacher has no endpoint and something is missing, or a setting is invalid.
    """
    recipe = open_run(folder).recipe
    recorded = endpoint_of(recipe)
    if recorded is None:
        if url == RECORDED:
            raise ConfigError(f"the teacher of {folder} was no endpoint; give the address of one in place of {url!r}")
        form = {"prompt": getattr(recipe.teacher, "prompt", None) or recipe.task.prompt, "system": recipe.task.system}
        # What is not sent is the server's default. A token of a large model has at least as many letters as one here.
        known = {**form, "max_tokens": recipe.task.max_target_tokens, "temperature": None, "top_p": None}
    else:
        known = recorded.model_dump(mode="json", exclude={"recorded", "require_logprobs", "top_logprobs"})
    address = {} if url == RECORDED else {"base_url": url}
    # Clients decide how many texts they want; this bounds the bytes of a response.
    requested = {**known, **address, **changes, "per_request": MOST_TEXTS**2}
    return check_endpoint(requested, overrides, where="the endpoint", option="--teacher-set")


def _system_name(run: OpenedRun, system: str) -> str:
    name = run.facts["method"] if system == STUDENT else system
    if name == TEACHER and "api_responses" in run.stages:
        raise StoreError(
            f"the teacher of the run in {run.folder} is behind an API and has no network here; use the command "
            "collect, which asks it for texts"
        )
    if name not in run.systems:
        raise unknown_name("system", system, [STUDENT, *run.systems])
    return name
