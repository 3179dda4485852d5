import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from sacrebleu import sentence_chrf
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from understudy.pipeline.compare import score_split
from understudy.pipeline.open import open_pool, open_run

from understudy.config.read import check_recipe, read_recipe
from understudy.errors import ConfigError, EvaluationError, StoreError
from understudy.models.checkpoint import parameter_count
from understudy.pipeline.run import Run, run


def test_a_run_delivers_a_report_and_a_student(finished: Run) -> None:
    """The folder holds the page, the facts, the recipe, and a network any Hugging Face tool can load."""
    facts = json.loads((finished.folder / "report.json").read_text())
    student = AutoModelForSeq2SeqLM.from_pretrained(finished.folder / "student")

    assert (finished.folder / "report.html").stat().st_size > 10_000
    assert [system["name"] for system in facts["systems"]] == ["teacher", "fine_tuned", "joint_teaching"]
    assert facts["systems"][2]["parameters"] == parameter_count(student)
    assert len(AutoTokenizer.from_pretrained(finished.folder / "student")) == student.config.vocab_size


def test_the_report_json_has_the_promised_shape(finished: Run) -> None:
    """Each system has its size, scores with intervals and signatures, and what it costs to run."""
    facts = json.loads((finished.folder / "report.json").read_text())

    for system in facts["systems"]:
        assert {"name", "parameters", "disk_bytes", "scores", "latency_ms", "throughput_per_s"} <= set(system)
        assert system["latency_ms"]["p50"] <= system["latency_ms"]["p95"]
        for metric in ("bleu", "chrf", "rouge", "slot_error_rate", "nll"):
            score = system["scores"][metric]
            assert score["low"] <= score["value"] <= score["high"]
            assert "split:test" in score["signature"]
            assert "|n:8|" in score["signature"]
    assert set(facts["gap_closed"]) == set(facts["systems"][0]["scores"])


def test_examples_are_told_with_the_metric_they_were_scored_by(finished: Run) -> None:
    """On single sentences chrF, whatever the task's primary metric is; sacrebleu agrees."""
    shown = next(example for example in finished.facts["examples"] if example["tag"] != "random")
    text = shown["predictions"]["joint_teaching"]

    assert finished.facts["example_metric"] == "chrf"
    assert shown["scores"]["joint_teaching"] == pytest.approx(sentence_chrf(text, shown["references"]).score)


def test_a_test_set_too_small_for_intervals_is_told(finished: Run) -> None:
    """A bootstrap over one example is sure of everything."""
    assert finished.facts["notes"][0].startswith("Test has 8 examples: a bootstrap over so few")


def test_a_finished_recipe_is_not_done_again(finished: Run, tiny: dict[str, Any], out: Path) -> None:
    """A second run finds every stage and delivers the same facts."""
    again = run(check_recipe(tiny), out=out)

    assert all(stage.reused for stage in again.stages.values())
    assert {name: stage.key for name, stage in again.stages.items()} == {
        name: stage.key for name, stage in finished.stages.items()
    }


def test_the_costs_are_found_again_by_a_process_with_other_threads(
    finished: Run, tiny: dict[str, Any], out: Path
) -> None:
    """How many threads torch happens to have is no property of the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        again = run(check_recipe(tiny), out=out)
    finally:
        torch.set_num_threads(before)

    assert again.stages["efficiency"].key == finished.stages["efficiency"].key


def test_the_delivered_recipe_asks_for_the_same_run(finished: Run, tiny: dict[str, Any]) -> None:
    """What lies beside the report is the whole recipe, with every default."""
    assert read_recipe(finished.folder / "recipe.yaml") == check_recipe(tiny)


def test_another_run_reuses_what_it_shares(tiny: dict[str, Any], out: Path) -> None:
    """Two recipes that differ in the name and in the resamples share everything up to the proof."""
    other = {**tiny, "name": "other", "evaluation": {**tiny["evaluation"], "resamples": 60}}
    stages = run(check_recipe(other), out=out).stages

    assert [name for name, stage in stages.items() if not stage.reused] == ["proof"]


def test_a_finished_run_opens_again(finished: Run) -> None:
    """Facts and stages are those of the run."""
    opened = open_run(finished.folder)

    assert opened.facts["systems"] == finished.facts["systems"]
    assert opened.stages.keys() == finished.stages.keys()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    """The message says what a run's folder is."""
    with pytest.raises(StoreError, match="holds no finished run"):
        open_run(tmp_path)


def test_the_pools_of_both_writers_can_be_looked_at(finished: Run) -> None:
    """Teacher and student wrote for known inputs, with the texts asked for."""
    teachers, sources, _ = open_pool(finished.folder, student=False)
    students, _, _ = open_pool(finished.folder, student=True)

    assert set(teachers.inputs) == set(sources)
    assert set(teachers.per_input) == {2}
    assert set(students.inputs) < set(sources)


def test_other_systems_are_scored_beside_the_run(finished: Run, tmp_path: Path) -> None:
    """Outputs equal to the teacher's get the teacher's score."""
    written = (finished.folder / "answers_teacher" / "test.jsonl").read_text()
    answers = [json.loads(line) for line in written.splitlines()]
    outputs = tmp_path / "rival.jsonl"
    outputs.write_text("".join(json.dumps({"id": a["id"], "text": a["text"]}) + "\n" for a in answers))

    scores = score_split(finished.folder, split="test", outputs=outputs)

    assert [score.value for score in scores["rival"]] == [score.value for score in scores["teacher"]]


def test_a_score_told_again_is_signed_as_in_the_report(finished: Run) -> None:
    """Letter by letter, so that two signatures can be compared as texts."""
    scores = score_split(finished.folder, split="test")
    told = {system["name"]: system["scores"] for system in finished.facts["systems"]}

    for name, own in scores.items():
        assert {score.signature for score in own} == {score["signature"] for score in told[name].values()}


def test_outputs_named_as_a_system_of_the_run_are_refused(finished: Run, tmp_path: Path) -> None:
    """They would stand in its place."""
    outputs = tmp_path / "teacher.txt"
    outputs.write_text("nothing\n" * 8)

    with pytest.raises(EvaluationError, match=r"has a system of the name 'teacher' already.*rename the file"):
        score_split(finished.folder, split="test", outputs=outputs)


def test_an_unknown_split_is_answered_with_the_known_ones(finished: Run) -> None:
    """Train is no split to score."""
    with pytest.raises(ConfigError, match=r"unknown split 'train'; known: dev, test"):
        score_split(finished.folder, split="train")


def test_the_report_tells_what_the_teacher_took(finished: Run) -> None:
    """Writing and listening are stages behind the pool and the student; each is told once, before what it is for."""
    names = [stage["name"] for stage in finished.facts["stages"]]

    assert names.index("texts") < names.index("pool")
    assert max(names.index("signal_gold"), names.index("signal_teacher")) < names.index("joint_teaching")
    assert names.count("texts") == 4  # two of each kind of input: one text, and three more
    assert len({stage["key"] for stage in finished.facts["stages"]}) == len(names)


def test_an_opened_run_tells_the_same_stages(finished: Run) -> None:
    """Parts, order and what the run made itself too, so that the report written again is the report."""
    assert (
        open_run(finished.folder).facts["stages"] == json.loads((finished.folder / "report.json").read_text())["stages"]
    )


def test_a_run_without_its_parts_can_still_be_told(tiny: dict[str, Any], out: Path, tmp_path: Path) -> None:
    """Signals take gigabytes, and a finished run needs them no more."""
    shutil.copytree(out, tmp_path / "runs", symlinks=True)
    for part in (tmp_path / "runs" / "store").glob("signal_*"):
        shutil.rmtree(part)
    stages = open_run(tmp_path / "runs" / tiny["name"]).facts["stages"]

    assert not [stage for stage in stages if stage["name"].startswith("signal_")]
    assert any(stage["name"] == "texts" for stage in stages)
