"""A whole run at the smallest sizes: what it delivers, what another run reuses, and how it opens again."""

import json
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sacrebleu import sentence_chrf
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from understudy.config.read import check_recipe, read_recipe
from understudy.errors import ConfigError, EvaluationError, StoreError
from understudy.models.checkpoint import parameter_count
from understudy.pipeline.delivery import report_facts
from understudy.pipeline.inspect.compare import score_split
from understudy.pipeline.inspect.open import open_pool, open_run
from understudy.pipeline.run import Run, run
from understudy.progress import NoProgress


def made(done: Run) -> list[str]:
    """The stages that a run made itself."""
    return [stage["name"] for stage in done.facts["stages"] if not stage["reused"]]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many threads as the finished run had: on some machines two threads sum in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def copied(tiny: dict[str, Any], out: Path, tmp_path: Path) -> Path:
    """A copy of the finished run's folder, with its store, of which a test may delete parts."""
    shutil.copytree(out, tmp_path / "runs", symlinks=True)
    return Path(tmp_path / "runs" / tiny["name"])


def test_a_run_delivers_a_report_and_a_student(finished: Run) -> None:
    """The folder holds the page, the facts, the recipe, and a network that any Hugging Face tool can load."""
    facts = json.loads((finished.folder / "report.json").read_text())
    student = AutoModelForSeq2SeqLM.from_pretrained(finished.folder / "student")

    assert (finished.folder / "report.html").stat().st_size > 10_000
    assert [system["name"] for system in facts["systems"]] == ["teacher", "fine_tuned", "joint_teaching"]
    assert facts["systems"][2]["parameters"] == parameter_count(student)
    assert len(AutoTokenizer.from_pretrained(finished.folder / "student")) == student.config.vocab_size


def test_the_delivered_student_alone_gives_the_evaluated_texts(finished: Run) -> None:
    """`generate` of transformers without arguments: its settings are the evaluated decoding."""
    folder = finished.folder / "student"
    network, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    facts = json.loads((finished.folder / "report.json").read_text())
    final = facts["method"]
    for example in facts["examples"]:
        ids = tokenizer(example["source"], return_tensors="pt")["input_ids"]
        text = tokenizer.decode(network.generate(ids)[0], skip_special_tokens=True).strip()
        assert text == example["predictions"][final]


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


def test_the_report_says_when_and_where_it_was_made(finished: Run) -> None:
    """The day, the machine, and the student's paired difference from the teacher in each metric."""
    facts = json.loads((finished.folder / "report.json").read_text())
    teacher, _, student = facts["systems"]

    assert re.fullmatch(r"20\d\d-\d\d-\d\d", facts["date"])
    assert f"Python {platform.python_version()}" in facts["machine"]
    for metric, difference in facts["teacher_differences"].items():
        sign = 1 if student["scores"][metric]["higher_is_better"] else -1
        apart = student["scores"][metric]["value"] - teacher["scores"][metric]["value"]
        assert difference["value"] == pytest.approx(sign * apart)
        assert difference["low"] <= difference["value"] <= difference["high"]
    assert "costs" not in facts


def test_the_price_of_the_machine_gives_costs(finished: Run, tiny: dict[str, Any]) -> None:
    """No stage is made again for them: they follow from the recipe and the facts."""
    recipe = check_recipe(tiny | {"evaluation": tiny.get("evaluation", {}) | {"price_per_hour": 2.0}})
    facts = report_facts(recipe, finished.stages, made=set())
    teacher, _, student = facts["systems"]
    hours = sum(stage["seconds"] for stage in facts["stages"]) / 3600

    assert facts["costs"]["per_1000"]["teacher"] == pytest.approx(2.0 / 3.6 / (teacher["throughput_per_s"] or 0))
    assert facts["costs"]["per_1000"]["joint_teaching"] == pytest.approx(2.0 / 3.6 / (student["throughput_per_s"] or 0))
    assert facts["costs"]["distillation"] == pytest.approx(2.0 * hours)


def test_examples_have_the_score_that_they_were_selected_by(finished: Run) -> None:
    """On single sentences chrF, whatever the task's primary metric is; sacrebleu agrees."""
    shown = next(example for example in finished.facts["examples"] if example["tag"] != "random")
    text = shown["predictions"]["joint_teaching"]

    assert finished.facts["example_metric"] == "chrf"
    assert shown["scores"]["joint_teaching"] == pytest.approx(sentence_chrf(text, shown["references"]).score)


def test_the_report_notes_a_test_set_that_is_too_small_for_intervals(finished: Run) -> None:
    """A bootstrap over a few examples underestimates their variance."""
    assert finished.facts["notes"][0].startswith("Test has 8 examples: a bootstrap over so few")


def test_a_finished_recipe_makes_nothing_again(finished: Run, tiny: dict[str, Any], out: Path) -> None:
    """A second run finds every stage and delivers the same facts, also in a process with other threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        again = run(check_recipe(tiny), out=out)
    finally:
        torch.set_num_threads(before)

    assert made(finished)
    assert made(again) == []
    assert dict(again.stages) == dict(finished.stages)
    assert again.facts["systems"] == finished.facts["systems"]


def test_the_delivered_recipe_describes_the_same_run(finished: Run, tiny: dict[str, Any]) -> None:
    """The recipe in the run's folder is the whole one, with every default."""
    assert read_recipe(finished.folder / "recipe.yaml") == check_recipe(tiny)


def test_another_run_reuses_what_it_shares(finished: Run, tiny: dict[str, Any], out: Path) -> None:
    """Two recipes that differ in the name and in the resamples share everything but what is scored."""
    other = {**tiny, "name": "other", "evaluation": {**tiny["evaluation"], "resamples": 60}}
    done = run(check_recipe(other), out=out)

    assert made(done) == ["scores", "deferral"]


def test_a_finished_run_opens_again(finished: Run) -> None:
    """Facts and stages are those of the run, also if its folder is given as text."""
    opened = open_run(str(finished.folder))

    assert opened.facts["systems"] == finished.facts["systems"]
    assert opened.stages.keys() == finished.stages.keys()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    """The message gives a folder of a run as an example."""
    with pytest.raises(StoreError, match=r"holds no finished run.*runs/demo"):
        open_run(tmp_path)


def test_the_texts_of_teacher_and_student_can_be_read(finished: Run) -> None:
    """Both generated for known inputs, the teacher as many texts as requested."""
    of_teacher, sources, _ = open_pool(finished.folder, student=False)
    of_student, _, _ = open_pool(finished.folder, student=True)

    assert set(of_teacher.inputs) == set(sources)
    assert set(of_teacher.per_input) == {2}
    assert set(of_student.inputs) < set(sources)


def test_outputs_of_other_systems_are_scored_with_the_run(finished: Run, tmp_path: Path) -> None:
    """Outputs equal to the teacher's get its scores, but for the likelihood, which texts alone do not have."""
    lines = (finished.folder / "predictions_teacher" / "test.jsonl").read_text().splitlines()
    predictions = [json.loads(line) for line in lines]
    outputs = tmp_path / "rival.jsonl"
    outputs.write_text("".join(json.dumps({"id": row["id"], "text": row["text"]}) + "\n" for row in predictions))

    scores = score_split(finished.folder, split="test", outputs=outputs)

    rival, teacher = ({score.metric: score.value for score in scores[name]} for name in ("rival", "teacher"))
    assert teacher.pop("nll")
    assert rival == teacher


def test_scores_computed_again_have_the_signatures_of_the_report(finished: Run) -> None:
    """Letter by letter, so that two signatures can be compared as texts."""
    scores = score_split(finished.folder, split="test")
    reported = {system["name"]: system["scores"] for system in finished.facts["systems"]}

    for name, own in scores.items():
        assert {score.signature for score in own} == {score["signature"] for score in reported[name].values()}
        assert {score.value for score in own} == {score["value"] for score in reported[name].values()}


def test_empty_outputs_are_scored_and_said(finished: Run, tmp_path: Path) -> None:
    """A file of line ends alone: each is an empty output, which scores 0 in BLEU."""
    lines: list[str] = []

    class Recorder(NoProgress):
        def log(self, message: str) -> None:
            lines.append(message)

    outputs = tmp_path / "silent.txt"
    count = len((finished.folder / "predictions_teacher" / "test.jsonl").read_text().splitlines())
    outputs.write_text("\n" * count)
    scores = score_split(finished.folder, outputs=outputs, progress=Recorder())

    assert lines == [f"{outputs}: {count} of {count} outputs are empty; they are scored as empty texts"]
    assert {score.metric: score.value for score in scores["silent"]}["bleu"] == 0


def test_outputs_with_the_name_of_a_system_of_the_run_are_refused(finished: Run, tmp_path: Path) -> None:
    """They would take its place."""
    outputs = tmp_path / "teacher.txt"
    outputs.write_text("nothing\n" * 8)

    with pytest.raises(EvaluationError, match=r"'teacher'.*rename the file"):
        score_split(finished.folder, split="test", outputs=outputs)


def test_an_unknown_split_is_answered_with_the_known_ones(finished: Run) -> None:
    """Train is not scored."""
    with pytest.raises(ConfigError, match=r"unknown split 'train'; known: dev, test"):
        score_split(finished.folder, split="train")


def test_the_report_lists_every_stage_once_after_what_it_needs(finished: Run) -> None:
    """Shards and log-probabilities are stages too; their time is that of the teacher."""
    names = [stage["name"] for stage in finished.facts["stages"]]

    assert names.index("pseudo_target_shard") < names.index("pseudo_targets")
    assert names.index("teacher_logprobs") < names.index("student")
    # Labeled inputs are one block, unlabeled ones two; each has its first text, and three more.
    assert names.count("pseudo_target_shard") == (1 + 2) * 2
    assert names.count("teacher_logprobs") == 2
    assert len({stage["key"] for stage in finished.facts["stages"]}) == len(names)


def test_an_opened_run_lists_the_same_stages(finished: Run) -> None:
    """Also their order and which ones the run made itself, so that the report written again is the report."""
    reported = json.loads((finished.folder / "report.json").read_text())["stages"]

    assert open_run(finished.folder).facts["stages"] == reported


def test_a_finished_run_does_without_what_only_led_to_it(tiny: dict[str, Any], copied: Path) -> None:
    """Log-probabilities take gigabytes; after they were deleted nothing is made again, and the run still opens."""
    for part in (copied.parent / "store").glob("teacher_logprobs-*"):
        shutil.rmtree(part)
    again = run(check_recipe(tiny), out=copied.parent)
    names = [stage["name"] for stage in open_run(copied).facts["stages"]]

    assert made(again) == []
    assert not list((copied.parent / "store").glob("teacher_logprobs-*"))
    assert "teacher_logprobs" not in names
    assert "pseudo_target_shard" in names


@pytest.mark.usefixtures("one_thread")
def test_a_deleted_student_is_made_again(finished: Run, tiny: dict[str, Any], copied: Path) -> None:
    """It is what a run delivers; its link would lead nowhere. The scores are reused, and the bytes are the same."""
    deleted = copied.parent / "store" / finished.stages["joint_teaching"].name
    shutil.rmtree(deleted)
    again = run(check_recipe(tiny), out=copied.parent)

    assert made(again) == ["final_finetune"]
    for path in sorted((finished.folder / "student").iterdir()):
        assert (again.folder / "student" / path.name).read_bytes() == path.read_bytes()


def test_what_is_read_after_a_run_is_named_when_it_was_deleted(copied: Path) -> None:
    """The pool by its label; predictions and scores by theirs."""
    store = copied.parent / "store"
    for shard in store.glob("pseudo_target_shard-*"):
        shutil.rmtree(shard)
    with pytest.raises(StoreError, match=r"pseudo_targets.*deleted.*run the recipe again"):
        open_pool(copied, student=False)

    for predictions in store.glob("predictions-*"):
        shutil.rmtree(predictions)
    with pytest.raises(StoreError, match=r"predictions_teacher.*deleted.*again"):
        score_split(copied)

    for scores in store.glob("scores-*"):
        shutil.rmtree(scores)
    with pytest.raises(StoreError, match=r"scores.*deleted.*again"):
        open_run(copied)
