"""The run's folder: the recipe, the report, and links to the stages."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from transformers.utils import GENERATION_CONFIG_NAME

from understudy.config.decoding import Decoding
from understudy.config.read import to_yaml
from understudy.config.recipe import Recipe
from understudy.errors import StoreError
from understudy.generation.hf import evaluated_settings
from understudy.pipeline.build import RunStages
from understudy.pipeline.context import NETWORK, STORE, RunContext
from understudy.pipeline.prepare import changed_targets
from understudy.pipeline.run_record import PLANNED, RECIPE_FILE, STAGES, RunRecord, write_planned
from understudy.pipeline.stages.deferral import DeferralStage
from understudy.pipeline.stages.examples import ExamplesFacts, ExamplesStage
from understudy.pipeline.stages.left_out import left_out_facts, left_out_warnings
from understudy.pipeline.stages.report_parts import low_mass_notes, teacher_logprob_facts
from understudy.pipeline.stages.scores import FACTS
from understudy.report.confidence_facts import ConfidenceFacts
from understudy.report.content_facts import ChangedTargets
from understudy.report.costs import run_costs, with_costs
from understudy.report.facts import Facts, StageFacts
from understudy.report.page import REPORT, REPORT_PAGE, write_report
from understudy.store import Stage
from understudy.store.copy import copy_stages
from understudy.store.disk import checksum, disk_errors, make_folder, read_json, write_text
from understudy.store.locks import hold
from understudy.store.manifest import MANIFEST, parse, read_manifest, write_checked
from understudy.store.stage import inputs_of
from understudy.store.store import Outcome
from understudy.store.verify import verified

STUDENT = "student"


def prepare_folder(recipe: Recipe, out: Path, stages: RunStages, checks: Sequence[Stage[Any]] = ()) -> Path:
    """Makes the run's folder before anything is trained, and records the stages that the run is going to need.

    Raises:
        StoreError: if it cannot be made or written, or holds a file or folder of the user's in place of one of its own.
    """
    folder = out / recipe.name
    make_folder(folder)
    labels = labeled_stages(stages)
    with guarded(folder):
        _refuse_files_of_the_user(folder, {*labels, STUDENT})
        write_planned(folder / PLANNED, [*labels.values(), *checks])
    return folder


def deliver(
    recipe: Recipe,
    folder: Path,
    stages: RunStages,
    context: RunContext,
    outcomes: Mapping[str, Outcome],
    *,
    checks: Sequence[Stage[Any]] = (),
    copy: bool = False,
) -> tuple[Facts, dict[str, Path]]:
    """Fills the run's folder.

    Args:
        recipe: of the run.
        folder: as `prepare_folder` made it.
        stages: of the run.
        context: of the run.
        outcomes: what became of the stages.
        checks: the stages of the checks before the first training, which the run needs too.
        copy: whether the folder gets its own copies of the stages, so that it can be moved by itself.

    Returns:
        The facts of the report, and the folder of each stage by its label.

    Raises:
        StoreError: if the scores or the student are damaged, or the folder cannot be written.
    """
    labeled = labeled_stages(stages)
    present = {label: context.store.folder(stage) for label, stage in labeled.items() if context.store.finished(stage)}
    final = stages.systems.final.network
    assert final is not None  # noqa: S101 - the distilled student is on this machine
    student = context.folder(final)
    made = {key for key, outcome in outcomes.items() if outcome == "made"}
    facts = report_facts(recipe, present, made)
    names = tuple((label, stage.folder_name) for label, stage in labeled.items())
    with guarded(folder):
        _refuse_files_of_the_user(folder, {*labeled, STUDENT})
        if copy:
            present = copy_stages(present, folder / STORE)
            student = folder / STORE / student.name
        write_text(folder / RECIPE_FILE, to_yaml(recipe))
        store = os.path.relpath(student.parent, folder)
        record = RunRecord(
            names,
            student.name,
            store,
            tuple(sorted(made)),
            checksum(folder / RECIPE_FILE),
            tuple(one.folder_name for one in checks),
        )
        for label, target in present.items():
            _link(folder / label, target)
        limit = recipe.task.max_target_tokens
        deliver_student(student / NETWORK, folder / STUDENT, recipe.evaluation.decoding, max_tokens=limit)
        write_report(facts, folder)
        write_checked(folder / STAGES, asdict(record))
        (folder / PLANNED).unlink(missing_ok=True)
    if gone := [label for label in labeled if label not in present]:
        context.progress.log(
            f"not in the store any more, and not made again as the scores are finished: {', '.join(gone)}; to make "
            f"again what scores need, delete {present['scores']} and run the recipe again"
        )
    return facts, present


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Within, no other process writes into the run's folder, and a full or read-only disk is one sentence."""
    with disk_errors(folder), hold(folder / ".lock", wait=True, making=folder):
        yield


def _refuse_files_of_the_user(folder: Path, links: set[str]) -> None:
    own = {STAGES, PLANNED} & {path.name for path in folder.iterdir()}
    for name in sorted({RECIPE_FILE, REPORT_PAGE, REPORT} | links):
        path = folder / name
        if name == STUDENT and _is_delivered_student(path):
            continue
        if not path.is_symlink() and (path.exists() if name in links or not own else path.is_dir()):
            raise StoreError(
                f"the run's folder needs the name {path}, which is a {'folder' if path.is_dir() else 'file'} that no "
                "run made; move it away, or give the run another name"
            )


def _is_delivered_student(path: Path) -> bool:
    return path.is_dir() and all(
        file.is_symlink() or file.name.strip(".").startswith(GENERATION_CONFIG_NAME) for file in path.iterdir()
    )


def _link(path: Path, target: Path) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    partial.symlink_to(os.path.relpath(target, path.parent), target_is_directory=target.is_dir())
    partial.replace(path)


def deliver_student(network: Path, folder: Path, decoding: Decoding, *, max_tokens: int) -> None:
    """Links the files of a network into a folder, with generation settings that are the evaluated decoding.

    `generate` of transformers then gives the texts that were evaluated.
    """
    if folder.is_symlink():  # of an earlier version
        folder.unlink()
    make_folder(folder)
    for link in folder.iterdir():
        if link.is_symlink():
            link.unlink()
    for file in network.iterdir():
        if file.name != GENERATION_CONFIG_NAME:
            _link(folder / file.name, file)
    settings = evaluated_settings(network, decoding, max_tokens=max_tokens)
    write_text(folder / GENERATION_CONFIG_NAME, settings.to_json_string())


def labeled_stages(stages: RunStages) -> dict[str, Stage[Any]]:
    """Every stage of a run but shards under a label, each after those that it needs."""
    systems, method = stages.systems, stages.task.recipe.distil.method
    named = {
        **{f"{method}_{number}": stage for number, stage in enumerate(systems.generations, 1)},
        f"{method}_distilled" if systems.final.network is not systems.student else method: systems.student,
        **{f"predictions_{system.name}": system.predictions for system in systems.local},
        **{system.name: system.network for system in systems.local if system.network},
        **{f"conversion_{system.name}": system.converted for system in systems.local if system.converted},
        "pseudo_targets": stages.scores.pool,
    }
    labels = {stage.key: label for label, stage in named.items() if stage}
    found: dict[str, Stage[Any]] = {}
    roots = [stage for stage in (stages.preview, stages.scores, stages.deferral) if stage]
    for stage in (one for root in roots for one in dependencies_first(root)):
        label = labels.get(stage.key, default_label(stage))
        number = 2
        while label in found and found[label].key != stage.key:
            label = f"{default_label(stage)}_{number}"
            number += 1
        found[label] = stage
    return found


def default_label(stage: Stage[Any]) -> str:
    """What a stage is called in a run's folder where the run gives it no name."""
    generator = getattr(stage, "generator", None)
    return f"{stage.name}_{generator}" if generator else stage.name


def dependencies_first(stage: Stage[Any], seen: set[str] | None = None) -> Iterator[Stage[Any]]:
    """A stage and all that it needs, each once, inputs first."""
    seen = set() if seen is None else seen
    if stage.key in seen:
        return
    seen.add(stage.key)
    for _, earlier in inputs_of(stage):
        yield from dependencies_first(earlier, seen)
    yield stage


def report_facts(recipe: Recipe, stages: Mapping[str, Path], made: set[str]) -> Facts:
    """The facts of a finished run, with its recipe and what its stages took.

    Args:
        recipe: of the run.
        stages: label -> folder, of the stages that are there.
        made: keys of the stages that this run made; the others were reused.
    """
    facts = cast(Facts, read_json(verified(stages["scores"]) / FACTS))
    manifests = {path: read_manifest(path) for path in stages.values()}
    found = [
        parse(ExamplesFacts, own.facts, path).round_trips
        for path, own in manifests.items()
        if own.stage == ExamplesStage.name
    ]
    trips = tuple(dict.fromkeys(trip for trips in found for trip in trips))
    facts["warnings"] = [
        *facts.get("warnings", []),
        *(f"{sentence[0].upper()}{sentence[1:]}." for sentence in changed_targets(trips)),
    ]
    facts["changed_targets"] = [cast(ChangedTargets, asdict(trip)) for trip in trips]
    if logprobs := teacher_logprob_facts(manifests):
        facts["teacher_logprobs"] = logprobs
        facts["notes"] = [*facts.get("notes", []), *low_mass_notes(logprobs)]
    if left_out := left_out_facts(manifests):
        facts["left_out"] = left_out
        facts["warnings"] += left_out_warnings(left_out)
    facts["recipe"] = to_yaml(recipe)
    facts["stages"] = [own for path in stages.values() for own in _stage_facts(path, made)]
    costs = run_costs(
        facts["systems"],
        facts["stages"],
        method=facts["method"],
        machine_per_hour=recipe.evaluation.price_per_hour,
        api=facts.get("api_responses"),
    )
    if costs:
        facts["costs"] = costs
    if confidence := _confidence(stages):
        facts["confidence"] = with_costs(confidence, costs)
    facts["versions"] = dict(read_manifest(stages["scores"]).versions)
    return facts


def _confidence(stages: Mapping[str, Path]) -> ConfidenceFacts | None:
    """The facts of deferral; runs of earlier versions have none."""
    if DeferralStage.name not in stages:
        return None
    return cast(ConfidenceFacts, read_json(verified(stages[DeferralStage.name]) / FACTS)) or None


def _stage_facts(folder: Path, made: set[str]) -> Iterator[StageFacts]:
    """The time that a stage took, after its shards."""
    manifest = read_manifest(folder)
    for shard in manifest.shards:
        if (folder.parent / shard / MANIFEST).is_file():  # a finished run can do without it
            yield from _stage_facts(folder.parent / shard, made)
    yield {
        "name": manifest.stage,
        "key": manifest.key,
        "seconds": manifest.seconds,
        "reused": manifest.key not in made,
    }
