"""What a run will take, before it is started, and how the machine's speed is measured."""

import copy
import json
import os
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers as tf
from tests.api_teacher.server import RequestLog
from tests.pipeline.api_teacher_recipe import INPUTS, recipe_of, serving
from tests.sizes import small

from understudy.config.model_sections import Prune
from understudy.config.read import check_recipe
from understudy.config.training import Training
from understudy.generation.engine import cores
from understudy.models.checkpoint import save_network
from understudy.models.prune import prune
from understudy.models.scratch import build_network
from understudy.models.tokenizers import train_tokenizer
from understudy.pipeline import calibration, calibration_runs
from understudy.pipeline.build import build_run
from understudy.pipeline.calibration import BUSY, busiest_thread_seconds, fit, machine_speed
from understudy.pipeline.context import run_context
from understudy.pipeline.network_size import NetworkSize, size_of
from understudy.pipeline.plan import PlannedStage, plan, total
from understudy.pipeline.plan_estimates import estimate_of, fewest_epochs
from understudy.pipeline.planner import planner_of
from understudy.pipeline.run import Run
from understudy.pipeline.work import generation_work, training_work
from understudy.progress import NoProgress
from understudy.store.manifest import read_manifest
from understudy.store.stage import content_key

SPEED = {
    "train": [1e-10, 1e-9, 1e-10, 1e-4, 1e-3],
    "ctranslate2": [1e-10, 1e-9, 1e-10, 1e-5, 1e-5],
    "hf": [1e-10, 1e-9, 1e-10, 1e-3, 1e-3],
    "convert": [1e-8, 1e-2, 1e-2],
}
SIZE = NetworkSize(parameters=100, source=10, target=20, source_layers=1, target_layers=2, width=4, vocabulary=5)


@pytest.fixture(autouse=True)
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which this machine has been measured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "cache" / "understudy" / f"speed-{content_key(calibration.machine())}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"speed": {**SPEED, "load": 0.0}}))
    return path


def by_label(stages: list[PlannedStage]) -> dict[str, PlannedStage]:
    """Label -> stage."""
    return {one.label: one for one in stages}


def test_a_plan_has_the_stages_of_the_run_with_their_sizes(tiny: dict[str, Any], finished: Run, tmp_path: Path) -> None:
    """Labels, inputs, texts and gold steps are those of the finished run, and bytes those of the weights."""
    planned = by_label(plan(check_recipe(tiny), out=tmp_path / "runs"))
    made = {label: read_manifest(folder) for label, folder in finished.stages.items()}

    assert planned.keys() == made.keys()
    assert planned["pseudo_targets"].estimate.texts == made["pseudo_targets"].facts["texts"]
    for label in ("teacher", "fine_tuned"):
        assert planned[label].estimate.steps == pytest.approx(made[label].facts["steps"], abs=2)
        weights = finished.stages[label] / "network" / "model.safetensors"
        assert planned[label].estimate.disk_bytes == pytest.approx(weights.stat().st_size, abs=10_000)  # its header
    cached = {label.removesuffix("_2") for label, one in planned.items() if one.cached}
    assert cached == {"data", "tokenizer", "examples"}


def test_a_finished_run_has_nothing_left_to_do(tiny: dict[str, Any], finished: Run) -> None:
    """All its stages are cached, and the sum over the others is nothing."""
    stages = plan(check_recipe(tiny), out=finished.folder.parent)

    assert all(one.cached for one in stages)
    assert (total(stages).seconds, total(stages).steps, total(stages).disk_bytes) == (0, 0, 0)


def test_a_plan_loads_no_weights(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Teacher and student are checkpoints without weights; the plan has their sizes."""
    tokenizer = train_tokenizer(["a b c d e 1 2 3"], vocab_size=200)
    for name, width in (("teacher", 32), ("student", 16)):
        network = build_network(small(width=width), tokenizer, max_positions=900, seed=1)
        save_network(network, tokenizer, tmp_path / name)
        (tmp_path / name / "model.safetensors").unlink()
    recipe = copy.deepcopy(tiny)
    recipe["task"] |= {"max_source_tokens": 400, "max_target_tokens": 400, "metrics": ["bleu"]}
    recipe["teacher"] = {"model": str(tmp_path / "teacher"), "finetune": tiny["teacher"]["finetune"]}
    recipe["student"] = {"model": str(tmp_path / "student"), "finetune": tiny["student"]["finetune"]}
    planned = by_label(plan(check_recipe(recipe), out=tmp_path / "runs"))

    assert planned["teacher"].estimate.disk_bytes > 1.5 * planned["fine_tuned"].estimate.disk_bytes > 0
    assert not list((tmp_path / "runs").rglob("*.safetensors"))


def test_the_bytes_of_the_cache_follow_from_the_tokens_of_the_student(tiny: dict[str, Any], tmp_path: Path) -> None:
    """16 bits per id for a student of few tokens whose teacher has over 65,536 rows; at most all its tokens."""
    tokenizer = train_tokenizer(["a b c d e 1 2 3"], vocab_size=200)
    network = build_network(small(), tokenizer, max_positions=900, seed=1)
    network.resize_token_embeddings(70_000)
    save_network(network, tokenizer, tmp_path / "teacher")
    recipe = copy.deepcopy(tiny)
    recipe["task"] |= {"max_source_tokens": 400, "max_target_tokens": 400, "metrics": ["bleu"]}
    recipe["teacher"] = {"model": str(tmp_path / "teacher")}
    tokens = len(tokenizer)
    for top, expected in ((14, 1 + 14 * 4), (1000, 1 + 4 * tokens)):
        recipe["distil"]["teacher_logprobs"] = {"kind": "sparse", "top": top}
        stages = build_run(check_recipe(recipe), run_context(tmp_path / "runs", NoProgress()))
        planner = planner_of(stages.task, stages.scores, run_context(tmp_path / "runs", NoProgress()))
        for _, stage in stages.systems.student.logprobs:  # type: ignore[attr-defined]
            estimate = estimate_of(stage, planner)
            assert estimate.disk_bytes == pytest.approx(estimate.texts * planner.lengths[1] * expected)


def test_requests_are_planned_with_their_money_and_none_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two texts for each of 42 inputs and one for each of dev and test; tokens follow from the characters."""
    monkeypatch.setenv("SOME_KEY", "any")
    log = RequestLog(share=0.0)
    with serving(log) as address:
        (requests,) = plan(check_recipe(recipe_of(tmp_path, address)), out=tmp_path / "runs")

    own = requests.estimate
    assert own.inputs == len(INPUTS)
    assert own.texts in {2 * 42 + 14, 2 * 42 + 2 * 14}  # references and predictions of held-out inputs
    written = own.texts * 16  # max_tokens: there are no gold targets
    assert own.money == pytest.approx(((own.tokens - written) * 1.0 + written * 2.0) / 1e6)
    assert log.requests == {}


@pytest.mark.parametrize(
    "config",
    [
        tf.BartConfig(vocab_size=50, d_model=16, encoder_layers=3, decoder_layers=2, encoder_ffn_dim=32,
                      decoder_ffn_dim=32, encoder_attention_heads=2, decoder_attention_heads=2),
        tf.T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=3, num_decoder_layers=2, num_heads=2),
        tf.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2),
        tf.LlamaConfig(vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                       num_attention_heads=2, tie_word_embeddings=False),
    ],
    ids=lambda config: config.model_type,
)  # fmt: skip
def test_the_size_of_a_network_is_that_of_the_built_one(config: tf.PretrainedConfig) -> None:
    """Its parameters, and with one decoder layer those of the pruned network up to norms and biases."""
    auto = tf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else tf.AutoModelForCausalLM
    network = auto.from_config(copy.deepcopy(config))
    pruned = prune(network, encoder_layers=None, decoder_layers=1)

    assert size_of(config).parameters == sum(p.numel() for p in network.parameters())
    matrices = sum(p.numel() for p in pruned.parameters() if p.ndim > 1)
    own = size_of(config, Prune(decoder_layers=1))
    assert own.parameters == pytest.approx(sum(p.numel() for p in pruned.parameters()), rel=0.05)
    assert own.source + own.target <= 2 * matrices
    assert (own.target_layers, own.source_layers) == (1, 3 if config.is_encoder_decoder else 1)


def test_speed_is_recovered_from_exact_measurements() -> None:
    """The fit returns the factors by which seconds were made, and none below zero where noise would have it."""
    rng = np.random.default_rng(0)
    works = [tuple(row) for row in rng.uniform(1e3, 1e9, (8, 5)).tolist()]
    factors = (2e-10, 3e-9, 4e-8, 1e-9, 1e-7)
    seconds = [sum(a * b for a, b in zip(factors, work, strict=True)) for work in works]

    assert fit(works, seconds) == pytest.approx(factors, rel=1e-6)
    assert min(fit([(1.0, 10.0, 1.0), (2.0, 1.0, 1.0), (4.0, 1.0, 1.0)], [1.0, 3.0, 5.0])) >= 0


def test_work_grows_with_tokens_and_texts() -> None:
    """A training pass is three forward passes; a beam of four is four texts."""
    forward = training_work(SIZE, source_tokens=6, target_tokens=7, batches=2, passes=1.0)
    assert forward == (2 * (10 * 6 + 20 * 7), 4 * (6 + 2 * 7) + 5 * 7, 2 * (10 + 20), 2 * 3, 2)
    assert training_work(SIZE, source_tokens=6, target_tokens=7, batches=2) == tuple(3 * one for one in forward)
    one, four = (generation_work(SIZE, source_tokens=6, target_tokens=7, beams=beams)[0] for beams in (1, 4))
    assert four - 2 * 10 * 6 == 4 * (one - 2 * 10 * 6)


def test_time_that_a_thread_does_not_compute_is_not_counted() -> None:
    """A process that waits, as it does for a core on a busy machine, gets no slower by this measure."""
    waiting = threading.Event()
    assert busiest_thread_seconds(lambda: waiting.wait(0.2)) < 0.2


def small_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is measured with one network, once."""
    monkeypatch.setattr(calibration_runs, "NETWORKS", ((16, 1),))
    monkeypatch.setattr(calibration, "ROUNDS", 1)


def test_a_cache_that_cannot_be_written_is_said_and_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the folder and the variable that decides it."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/x")
    small_measurement(monkeypatch)
    lines: list[str] = []

    class Log(NoProgress):
        def log(self, message: str) -> None:
            lines.append(message)

    assert min(machine_speed(Log()).train) >= 0
    assert [("/proc/x/understudy" in line, "XDG_CACHE_HOME" in line) for line in lines] == [(True, True)]


def test_a_machine_is_measured_once(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the cache has is used; a file that cannot be read is measured again, here with one small network."""
    small_measurement(monkeypatch)
    assert asdict(machine_speed(NoProgress())) == {kind: tuple(own) for kind, own in SPEED.items()} | {"load": 0.0}
    measured.write_text("{")
    found = machine_speed(NoProgress())
    assert min(min(own) for own in (found.train, found.ctranslate2, found.hf, found.convert)) >= 0
    assert machine_speed(NoProgress()) == found


def test_a_busy_machine_is_measured_again_when_it_is_idle(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then the measurement is used, and its load is said."""
    small_measurement(monkeypatch)
    measured.write_text(json.dumps({"speed": {**SPEED, "load": 3.0}}))
    monkeypatch.setattr(os, "getloadavg", lambda: (8.0 * cores(), 0.0, 0.0))
    busy = machine_speed(NoProgress())
    assert busy.train == tuple(SPEED["train"])
    assert "busy (3.0 other processes per core)" in busy.caveat

    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    idle = machine_speed(NoProgress())
    assert (idle.load, idle.caveat) == (0.0, "")
    assert idle.load <= BUSY < busy.load
    assert idle.train != busy.train


def test_early_stopping_is_a_range() -> None:
    """With a patience of 3 and an evaluation every 4 epochs, 16 of 24 epochs are the fewest."""
    training = Training(epochs=24, evaluate_every=4, patience=3)
    assert fewest_epochs(training) == 16
    assert fewest_epochs(training, evaluates_start=True) == 12
    assert fewest_epochs(Training(epochs=24)) == 24


def test_a_plan_foresees_what_evaluations_and_conversions_take(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Scoring dev after every epoch takes longer than once at the end, and early stopping gives a lower bound."""
    teachers = {}
    for every in (1, 100):
        recipe = copy.deepcopy(tiny)
        recipe["teacher"]["finetune"] |= {"epochs": 100, "evaluate_every": every, "patience": 2}
        teachers[every] = by_label(plan(check_recipe(recipe), out=tmp_path / "runs"))["teacher"].estimate

    assert teachers[1].seconds > teachers[100].seconds + 50 * 0.01
    assert teachers[1].least_seconds is not None
    assert teachers[1].least_seconds < teachers[1].seconds / 10
    assert teachers[100].least_seconds is None
