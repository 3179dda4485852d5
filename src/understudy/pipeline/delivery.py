"""The run's folder: the recipe, the report, and links to the stages."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from understudy.config.read import to_yaml
from understudy.config.recipe import Recipe
from understudy.pipeline.build import RunStages
from understudy.pipeline.context import NETWORK, RunContext
from understudy.pipeline.stages.scores import FACTS
from understudy.report.costs import run_costs
from understudy.report.facts import Facts, StageFacts
from understudy.report.page import write_report
from understudy.store import Stage
from understudy.store.disk import make_folder, read_json, write_text
from understudy.store.manifest import MANIFEST, read_manifest
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
    for label, target in {**present, STUDENT: context.folder(final) / NETWORK}.items():
        link = folder / label
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(target, folder), target_is_directory=True)
    made = {key for key, outcome in outcomes.items() if outcome == "made"}
    facts = report_facts(recipe, present, made)
    write_report(facts, folder)
    return folder, facts, present


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
