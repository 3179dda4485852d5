"""A local teacher with a prompt that the student never sees, from its texts and log-probabilities to the delivery."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.pipeline.prompted_task import OWN_PROMPT, PROMPT, SHORT, prompted_recipe, write_checkpoint, write_task
from transformers import AutoModelForCausalLM, AutoTokenizer

from understudy.config.read import check_recipe, merge
from understudy.config.recipe import Recipe
from understudy.errors import DataError, UnderstudyError
from understudy.evaluation.predictions import read_predictions
from understudy.executors.local import Local
from understudy.pipeline.build import RunStages, build_run
from understudy.pipeline.context import NETWORK, RunContext, run_context
from understudy.pipeline.delivery import deliver_student
from understudy.pipeline.teacher_prompt import drawn_demonstrations
from understudy.pool.logprob_cache import LogprobCache
from understudy.pool.pool import PseudoTargetPool
from understudy.progress import NoProgress
from understudy.records import Example
from understudy.store import Stage

SYSTEM, OWN_SYSTEM = "Be brief.", "You sell furniture."
DEMONSTRATIONS = 2
DENSE = {"kind": "dense"}
Turns = list[dict[str, str]]


@dataclass(frozen=True)
class Made:
    """A recipe with its stages, which are made when they are asked for."""

    folder: Path
    recipe: Recipe

    @cached_property
    def context(self) -> RunContext:
        """What the stages share."""
        return run_context(self.folder / "runs", NoProgress())

    @cached_property
    def stages(self) -> RunStages:
        """All stages, of which only the first are made."""
        return build_run(self.recipe, self.context)

    def place(self, stage: Stage[Any] | None) -> Path:
        """The folder of a stage, with all that it needs."""
        assert stage is not None
        self.context.store.get_all([stage], Local(), self.context)
        return self.context.folder(stage)

    def labeled(self) -> list[Example]:
        """The labeled examples of the task."""
        rows = map(json.loads, (self.folder / "labeled.jsonl").read_text().splitlines())
        return [Example(row["id"], row["source"], (row["target"],)) for row in rows]


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A chat model that is used as it is, with all that a teacher's own prompt may have."""
    folder = tmp_path_factory.mktemp("prompted")
    recipe = prompted_recipe(
        write_task(folder),
        write_checkpoint(folder / "model"),
        prompt=OWN_PROMPT,
        system=OWN_SYSTEM,
        demonstrations=DEMONSTRATIONS,
    )
    return Made(folder, check_recipe(merge(recipe, {"task": {"system": SYSTEM}})))


def turns_of_teacher(prompted: Made, source: str) -> Turns:
    """What the teacher must read for a source, written by an independent loop."""
    drawn = drawn_demonstrations(prompted.labeled(), DEMONSTRATIONS, prompted.recipe.seed)
    turns = [{"role": "system", "content": OWN_SYSTEM}]
    shown = 0
    for own, target in drawn:
        if own == source or shown == DEMONSTRATIONS:
            continue
        shown += 1
        turns.append({"role": "user", "content": OWN_PROMPT.replace("{source}", own)})
        turns.append({"role": "assistant", "content": target})
    return [*turns, {"role": "user", "content": OWN_PROMPT.replace("{source}", source)}]


def generated(folder: Path, turns: Turns, **settings: int) -> str:
    """What a user of transformers gets from a folder."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**inputs, do_sample=False, **settings)
    text: str = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text.strip()


def test_the_delivered_student_reads_the_prompt_of_the_task_alone(prompted: Made, tmp_path: Path) -> None:
    """`apply_chat_template` and `generate` of transformers give the texts that were evaluated."""
    final = prompted.stages.systems.final
    predictions = read_predictions(prompted.place(final.predictions) / "test.jsonl")
    network = prompted.place(final.network) / NETWORK
    deliver_student(network, tmp_path / "student", prompted.recipe.evaluation.decoding, max_tokens=16)
    for one in predictions[:3]:
        turns = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": PROMPT.replace("{source}", one.source)},
        ]
        assert generated(tmp_path / "student", turns) == one.text


def test_the_teacher_writes_and_predicts_by_its_own_prompt(prompted: Made) -> None:
    """Its pseudo-targets and predictions are the greedy texts after its system turn, demonstrations and prompt."""
    systems = prompted.stages.systems
    teacher = prompted.place(systems.teacher.network) / NETWORK
    sources = {example.id: example.source for example in prompted.labeled()}
    pool = PseudoTargetPool.open(prompted.place(prompted.stages.scores.pool))
    for row in [pool.row(index) for index in range(3)]:
        turns = turns_of_teacher(prompted, sources[row.input_id])
        assert generated(teacher, turns, max_new_tokens=16) == row.text.strip()
    (one, *_) = read_predictions(prompted.place(systems.teacher.predictions) / "test.jsonl")
    assert generated(teacher, turns_of_teacher(prompted, one.source), max_new_tokens=16) == one.text


def test_log_probabilities_are_those_after_the_prompt_of_the_teacher(prompted: Made) -> None:
    """Of gold and pseudo-targets; an independent loop reads the conversation row by row."""
    systems = prompted.stages.systems
    teacher = prompted.place(systems.teacher.network) / NETWORK
    tokenizer, model = AutoTokenizer.from_pretrained(teacher), AutoModelForCausalLM.from_pretrained(teacher)
    stage = next(stage for name, stage in systems.student.logprobs if name == "gold")  # type: ignore[attr-defined]
    cache, position = LogprobCache.open(prompted.place(stage)), 0
    rows = cache.at(np.arange(len(cache.counts_P)))
    for example in prompted.labeled():
        turns = turns_of_teacher(prompted, example.source)
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
        target = [*tokenizer(example.targets[0], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *target]])).logits[0, len(prompt) - 1 : -1, : len(tokenizer)]
        expected = logits.log_softmax(dim=-1)
        for step in range(len(target)):
            kept = rows.logp_PK[position] > -np.inf
            found = torch.tensor(rows.logp_PK[position][kept].astype(np.float32))
            assert len(found) > 0
            torch.testing.assert_close(found, expected[step, rows.ids_PK[position][kept].tolist()], rtol=0, atol=0.02)
            position += 1


def test_a_source_is_never_shown_its_own_target(prompted: Made) -> None:
    """Also where it was drawn as a demonstration: another one takes its place."""
    drawn = drawn_demonstrations(prompted.labeled(), DEMONSTRATIONS, prompted.recipe.seed)
    assert len(drawn) == DEMONSTRATIONS + 1
    for source, target in drawn:
        turns = turns_of_teacher(prompted, source)
        assert target not in [turn["content"] for turn in turns]
        assert len(turns) == 2 + 2 * DEMONSTRATIONS


def test_while_training_the_teacher_reads_its_own_prompt_and_the_student_the_task(
    prompted: Made, tmp_path: Path
) -> None:
    """Live log-probabilities of student samples come after the teacher's source tokens."""
    student = prompted.stages.systems.student
    for _, stage in student.logprobs:  # type: ignore[attr-defined]
        prompted.place(stage)
    prompted.place(prompted.stages.scores.pool)
    mixture = student.training(tmp_path, prompted.context).mixture  # type: ignore[attr-defined]
    tokenizer = AutoTokenizer.from_pretrained(prompted.place(prompted.stages.systems.teacher.network) / NETWORK)
    for row, example in enumerate(prompted.labeled()):
        task = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"Say it: {example.source}"}]
        read = {"sources": task, "teacher_sources": turns_of_teacher(prompted, example.source)}
        for name, turns in read.items():
            expected = tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, tokenize=True, return_dict=False
            )
            assert getattr(mixture, name)[row].tolist() == expected


def changed(prompted: Made, **settings: Any) -> RunStages:  # noqa: ANN401 - settings of a recipe
    """The stages of the recipe with other settings."""
    return build_run(
        check_recipe(merge(prompted.recipe.model_dump(mode="json", by_alias=True), settings)), prompted.context
    )


@pytest.mark.parametrize(
    "teacher", [{"prompt": "Or: {source}"}, {"system": "Or else."}, {"demonstrations": DEMONSTRATIONS + 1}]
)
def test_what_the_teacher_reads_is_in_the_keys_of_what_it_makes(prompted: Made, teacher: dict[str, Any]) -> None:
    """And in no key of the baseline, which learns from gold alone."""
    before, after = prompted.stages.systems, changed(prompted, teacher=teacher).systems
    for name in ("network", "predictions"):
        assert getattr(before.teacher, name).key != getattr(after.teacher, name).key
    assert before.student.key != after.student.key
    assert prompted.stages.scores.pool is not None
    assert before.student.pool.key != after.student.pool.key  # type: ignore[attr-defined]


def test_other_texts_of_a_demonstration_make_another_teacher(prompted: Made) -> None:
    """They are cached by what they say, not by how many they are."""
    labeled = prompted.folder / "labeled.jsonl"
    own = labeled.read_text()
    try:
        labeled.write_text(own.replace("tables", "desks"))
        other = build_run(prompted.recipe, prompted.context)
    finally:
        labeled.write_text(own)
    assert other.systems.teacher.network.key != prompted.stages.systems.teacher.network.key  # type: ignore[union-attr]


def test_a_teacher_that_is_fine_tuned_is_trained_on_its_own_prompt(prompted: Made) -> None:
    """Dev is scored by it too."""
    teacher = changed(prompted, teacher={"finetune": SHORT}).systems.teacher.network
    limits, settings = teacher.limits, teacher.settings  # type: ignore[union-attr]
    assert limits == settings.limits
    assert (limits.prompt, limits.system, len(limits.demonstrations)) == (OWN_PROMPT, OWN_SYSTEM, DEMONSTRATIONS + 1)


def test_the_limit_on_sources_is_that_of_the_prompt_of_the_task(prompted: Made, tmp_path: Path) -> None:
    """The teacher's prompt is over it here, and only has to fit the positions of its model."""
    tokenizer = AutoTokenizer.from_pretrained(prompted.folder / "model")
    turns = turns_of_teacher(prompted, "has 1 chair")
    assert len(tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)) > 100
    assert prompted.recipe.task.max_source_tokens == 100
    with pytest.raises(DataError, match=r"fewer demonstrations|shorter prompt"):
        changed(prompted, teacher={"model": write_checkpoint(tmp_path, positions=220)})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": {"demonstrations": 8}}, r"demonstrations is 8, which needs 9 labeled examples.*the task has 8"),
        ({"teacher": {"prompt": "no place"}}, r"never shows the input"),
        (
            {"distil": {"method": "logits_kd", "relations": {"of": "hidden"}, "teacher_logprobs": DENSE}},
            r"relations compares the same positions",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(prompted: Made, settings: dict[str, Any], message: str) -> None:
    """Before anything is trained."""
    with pytest.raises(UnderstudyError, match=message):
        changed(prompted, **settings)
