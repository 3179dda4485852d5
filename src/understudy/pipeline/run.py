"""A run: the stages in their order, from a recipe to a proven student."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from understudy.config.model_sections import EndpointTeacher
from understudy.config.read import to_yaml
from understudy.config.recipe import Recipe
from understudy.pipeline.bench import STORE, Bench, fast_precision
from understudy.pipeline.cut import make_cut
from understudy.pipeline.data import make_data, read_data, taught_inputs
from understudy.pipeline.endpoint import learn_from_endpoint
from understudy.pipeline.learned import Learned, make_shipped_answers
from understudy.pipeline.measure import make_efficiency, refuse_unscorable
from understudy.pipeline.networks import NETWORK, Readers, make_readers, make_tokenizer
from understudy.pipeline.proof import Evidence, facts_of, make_proof
from understudy.pipeline.readers import fitted
from understudy.pipeline.teach import make_baseline, make_last_lesson, make_student, make_teacher
from understudy.pipeline.writing import make_pool
from understudy.progress import NoProgress, Progress
from understudy.records import TaskData
from understudy.report.facts import FINE_TUNED, TEACHER, Facts
from understudy.report.page import write_report
from understudy.store import Finished, Store
from understudy.store.disk import write_text
from understudy.store.stages import part_of

STAGES = "stages.json"
QUIET = NoProgress()


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    facts: Facts
    stages: Mapping[str, Finished]


def run(recipe: Recipe, *, out: Path, progress: Progress = QUIET) -> Run:
    """Does what a recipe asks; what was done before, by any run in `out`, is not done again.

    Args:
        recipe: what to do.
        out: holds the runs' folders and, in `store`, their stages.
        progress: hears about long work.

    Returns:
        The run's folder with `report.html`, `report.json`, the recipe, and a link to each stage.

    Raises:
        UnderstudyError: whatever the user can mend, in one sentence. Finished stages are kept.
    """
    bench = Bench(recipe, Store(out / STORE), progress, fast_precision(recipe.precision))
    learned = learn(bench)
    stages = dict(learned.stages)
    stages["efficiency"] = make_efficiency(bench, learned.shipped, learned.readers, learned.data)
    evidence = Evidence(
        data=stages["data"],
        pool=stages.get("pool"),
        learned={name: stages[name] for name in learned.shipped},
        answers=learned.answers,
        efficiency=stages["efficiency"],
        bought=stages.get("bought"),
        signal=_told_signal(learned) if "bought" in stages else None,
    )
    writer = learned.readers.get(TEACHER, learned.readers[recipe.distil.method])
    stages["proof"] = make_proof(bench, evidence, eos_id=writer.tokenizer.eos_token_id)
    folder = _deliver(recipe, out, stages, learned.shipped[recipe.distil.method])
    facts = facts_of(stages["proof"], list(stages.values()), made=bench.store.made)
    write_report(facts, folder)
    return Run(folder, facts, stages)


def learn(bench: Bench) -> Learned:
    """The stages of a recipe from the data to what each system answers; those that are found are not made again.

    Raises:
        UnderstudyError: whatever the user can mend, in one sentence. Finished stages are kept.
    """
    recipe = bench.recipe
    refuse_unscorable(recipe.task)
    if isinstance(recipe.teacher, EndpointTeacher):
        return learn_from_endpoint(bench)
    stages: dict[str, Finished] = {"data": make_data(bench)}
    tokenizer = make_tokenizer(bench, stages["data"])
    if tokenizer:
        stages["tokenizer"] = tokenizer
    readers = make_readers(bench, tokenizer)
    bench, data = fitted(bench, read_data(stages["data"]), (readers.teacher, readers.student))
    if recipe.distil.targets.teacher or recipe.distil.targets.student:
        taught_inputs(recipe, data)
    begun = dict(stages)
    stages["teacher"] = make_teacher(bench, data, readers, tokenizer)
    if cut := make_cut(bench, data, readers.teacher, stages["teacher"]):
        stages["cut"] = cut
    if _needs_pool(recipe):
        stages["pool"] = make_pool(bench, data, readers.teacher, stages["teacher"])
    stages[FINE_TUNED] = make_baseline(bench, data, readers, stages["teacher"], tokenizer)
    method = recipe.distil.method
    stages |= _generations(bench, data, readers, begun, stages)
    if recipe.distil.final_finetune is not None:
        last = make_last_lesson(bench, data, readers, stages[method], recipe.distil.final_finetune)
        stages[f"{method}_gold"] = last
    shipped = {TEACHER: stages["teacher"], FINE_TUNED: stages[FINE_TUNED], method: list(stages.values())[-1]}
    own_readers = {TEACHER: readers.teacher, FINE_TUNED: readers.student, method: readers.student}
    answers = make_shipped_answers(bench, shipped, own_readers, data)
    stages |= {f"answers_{name}": stage for name, stage in answers.items()}
    return Learned(stages, shipped, answers, own_readers, data)


def _generations(
    bench: Bench, data: TaskData, readers: Readers, begun: Mapping[str, Finished], stages: Mapping[str, Finished]
) -> dict[str, Finished]:
    """The student, after those of earlier generations, each of which writes for the next as its teacher."""
    recipe, teacher = bench.recipe, stages["teacher"]
    taught = {name: stages[name] for name in ("teacher", "pool") if name in stages}
    made: dict[str, Finished] = {}
    for generation in range(1, recipe.distil.generations):
        student = make_student(bench, data, readers, {**begun, **taught}, origin=teacher)
        made[f"{recipe.distil.method}_{generation}"] = student
        readers, taught = Readers(readers.student, readers.student), {"teacher": student}
        if _needs_pool(recipe):
            taught["pool"] = make_pool(bench, data, readers.teacher, student)
    return made | {recipe.distil.method: make_student(bench, data, readers, {**begun, **taught}, origin=teacher)}


def _told_signal(learned: Learned) -> Finished | None:
    """The stage of what an endpoint told of its texts, behind the student that learned from it."""
    student = list(learned.shipped.values())[-1]
    key = student.manifest.inputs.get("signal_teacher")
    return part_of(student, key) if key else None


def _needs_pool(recipe: Recipe) -> bool:
    return recipe.distil.targets.teacher > 0


def _deliver(recipe: Recipe, out: Path, stages: Mapping[str, Finished], student: Finished) -> Path:
    """The run's folder: the recipe with all defaults, the receipt, and links that `ls` shows."""
    folder = out / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "recipe.yaml", to_yaml(recipe))
    own = {name: stage.folder.name for name, stage in stages.items()}
    write_text(folder / STAGES, json.dumps(own, indent=1) + "\n")  # in their order, for the report tells them in it
    for name, target in {**{n: s.folder for n, s in stages.items()}, "student": student.folder / NETWORK}.items():
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(target, folder), target_is_directory=True)
    return folder
