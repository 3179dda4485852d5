"""The run's folder: the recipe, the report, and links to the stages."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from transformers.utils import GENERATION_CONFIG_NAME

from understudy.config.decoding import Decoding
from understudy.config.read import to_yaml
from understudy.config.recipe import Recipe
from understudy.generation.hf import evaluated_settings
from understudy.pipeline.build import RunStages
from understudy.pipeline.context import NETWORK, RunContext
from understudy.pipeline.prepare import changed_targets
from understudy.pipeline.stages.examples import ExamplesFacts, ExamplesStage
from understudy.pipeline.stages.scores import FACTS
from understudy.report.facts import ChangedTargets, Facts, StageFacts
from understudy.report.page import write_report
from understudy.store import Stage
from understudy.store.disk import make_folder, read_json, write_text
from understudy.store.manifest import MANIFEST, parse, read_manifest
from understudy.store.stage import inputs_of
from understudy.store.store import Outcome

STAGES = "stages.json"
STUDENT = "student"


def deliver(
    recipe: Recipe, out: Path, stages: RunStages, context: RunContext, outcomes: Mapping[str, Outcome]
) -> tuple[Path, Facts, dict[str, Path]]:
    """Writes the run's folder.

    Returns:
        The folder, the facts of the report, and the folder of each stage by its label.
    """
    folder = out / recipe.name
    make_folder(folder)
    labeled = labeled_stages(stages)
    present = {label: context.folder(stage) for label, stage in labeled.items() if context.store.finished(stage)}
    write_text(folder / "recipe.yaml", to_yaml(recipe))
    # Also those that were deleted from the store: whoever needs one can say which.
    names = {label: stage.folder_name for label, stage in labeled.items()}
    write_text(folder / STAGES, json.dumps(names, indent=1) + "\n")
    final = stages.systems.final.network
    assert final is not None  # noqa: S101 - the distilled student is on this machine
    for label, target in present.items():
        relink(folder / label, target)
    limit = recipe.task.max_target_tokens
    deliver_student(context.folder(final) / NETWORK, folder / STUDENT, recipe.evaluation.decoding, max_tokens=limit)
    made = {key for key, outcome in outcomes.items() if outcome == "made"}
    facts = report_facts(recipe, present, made)
    write_report(facts, folder)
    return folder, facts, present


def relink(link: Path, target: Path) -> None:
    """Makes a relative link, in place of an earlier one."""
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(target, link.parent), target_is_directory=target.is_dir())


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
            relink(folder / file.name, file)
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
    roots = [stage for stage in (stages.preview, stages.scores) if stage]
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
    facts = cast(Facts, read_json(stages["scores"] / FACTS))
    manifests = {path: read_manifest(path) for path in stages.values()}
    found = [
        parse(ExamplesFacts, own.facts, path).round_trips
        for path, own in manifests.items()
        if own.stage == ExamplesStage.name
    ]
    trips = tuple(dict.fromkeys(trip for trips in found for trip in trips))
    notes = [f"{sentence[0].upper()}{sentence[1:]}." for sentence in changed_targets(trips)]
    facts["notes"] = [*notes, *facts.get("notes", [])]
    facts["changed_targets"] = [cast(ChangedTargets, asdict(trip)) for trip in trips]
    facts["recipe"] = to_yaml(recipe)
    facts["stages"] = [own for path in stages.values() for own in _stage_facts(path, made)]
    facts["versions"] = dict(read_manifest(stages["scores"]).versions)
    return facts


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
