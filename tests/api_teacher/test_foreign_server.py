"""A third-party server: runs if UNDERSTUDY_FOREIGN_URL names one, see `docs/api-teacher.md`.

`tests/serve_network.py` serves a checkpoint of understudy in the same protocol.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.api_teacher.collect import collect
from understudy.api_teacher.logprob_alignment import align_logprobs
from understudy.api_teacher.response_logprobs import ResponseLogprobs, as_bytes, positions_of
from understudy.config.endpoint import Endpoint
from understudy.config.read import check_recipe
from understudy.demo.forecast import forecast_task
from understudy.models.token_bytes import TokenBytes
from understudy.pipeline.run import run
from understudy.pool.logprob_cache import LogprobCache

URL = os.environ.get("UNDERSTUDY_FOREIGN_URL", "")
MODEL = os.environ.get("UNDERSTUDY_FOREIGN_MODEL", "tiny")
KEY = "UNDERSTUDY_FOREIGN_KEY"
INPUTS, TEXTS, WORKERS = 20, 2, 4

pytestmark = pytest.mark.skipif(
    not URL,
    reason="needs a server with log-probabilities; set UNDERSTUDY_FOREIGN_URL (docs/api-teacher.md, 'Your own server')",
)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, os.environ.get(KEY, "any word"))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A file of inputs."""
    path = tmp_path / "inputs.jsonl"
    examples = forecast_task(labeled=1, unlabeled=INPUTS, dev=1, test=1, seed=2).unlabeled
    path.write_text("".join(json.dumps({"id": e.id, "source": e.source}) + "\n" for e in examples))
    return path


def settings() -> dict[str, Any]:
    """Endpoint settings."""
    server = {"model": MODEL, "base_url": URL, "key": KEY, "per_input": TEXTS, "top_logprobs": 5}
    return {**server, "max_tokens": 128, "concurrency": WORKERS}


def events(out: Path) -> list[dict[str, Any]]:
    """The events of the journal, without a line that is still being written."""
    path = out / "journal.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def choices_of(out: Path) -> list[dict[str, Any]]:
    """All texts in a journal."""
    return [choice for event in events(out) if "ended" in event for choice in event["choices"]]


def test_every_input_gets_its_texts_whatever_the_number_per_response(inputs: Path, tmp_path: Path) -> None:
    """The missing texts of a server that returns one choice of two are requested again."""
    done = collect(inputs, Endpoint.model_validate(settings()), out=tmp_path / "out")

    assert (done.outcome.answered, dict(done.outcome.failed)) == (INPUTS, {})
    assert len(choices_of(done.folder)) == INPUTS * TEXTS
    assert {choice["finish_reason"] for choice in choices_of(done.folder)} <= {"stop", "length"}


def test_every_token_has_its_log_probability(inputs: Path, tmp_path: Path) -> None:
    """Each token has its own and at least as many alternatives as requested; together they are at most 1."""
    done = collect(inputs, Endpoint.model_validate(settings()), out=tmp_path / "out")
    for choice in choices_of(done.folder):
        spelled = b"".join(as_bytes(at["token"]) for at in choice["logprobs"])

        # A character whose second half never came is left out, or replaced by U+FFFD.
        assert spelled.decode(errors="ignore").strip() == choice["text"].replace("\ufffd", "").strip()
        for at in choice["logprobs"]:
            assert at["logprob"] <= 0
            assert len(at["top"]) >= 5
            assert sum(exp(logprob) for _, logprob, *_ in at["top"]) < 1.001
            assert all(other[1] == at["logprob"] for other in at["top"] if other[0] == at["token"] != "")


def test_a_killed_command_resumes(inputs: Path, tmp_path: Path) -> None:
    """After SIGKILL, the same command requests again at most what was in flight."""
    file, out = tmp_path / "endpoint.json", tmp_path / "out"
    file.write_text(json.dumps(settings()))
    command = [sys.executable, "-m", "understudy", "collect", str(inputs), "--endpoint", str(file), "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as first:
        while len(choices_of(out)) < INPUTS * TEXTS // 4 and first.poll() is None:
            time.sleep(0.01)
        first.kill()
    before = len(choices_of(out))
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    per_source = Counter(event["source"] for event in events(out) if "sent" in event)

    assert 0 < before < INPUTS * TEXTS
    assert len(choices_of(out)) == INPUTS * TEXTS
    assert sum(per_source.values()) <= INPUTS * TEXTS + WORKERS


def test_a_student_with_another_tokenizer_is_trained_on_its_log_probabilities(inputs: Path, tmp_path: Path) -> None:
    """From inputs to a report; at every position the kept probabilities add up to at most 1."""
    whole = {key: value for key, value in settings().items() if key != "per_input"}
    sizes = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 16}
    training = {"epochs": 2, "batch_tokens": 4000, "warmup_steps": 2}
    plain = {
        "name": "foreign",
        "task": {
            "files": {"unlabeled": str(inputs)},
            "held_out": {"dev": 3, "test": 4},
            "metrics": ["bleu"],
            "max_source_tokens": 500,
            "max_target_tokens": 500,
        },
        "teacher": {"endpoint": whole | {"max_tokens": 300}, "vocab_size": 200},
        "student": {"scratch": sizes},
        "distil": {"method": "extreme_logits"},
        "training": training,
        "evaluation": {"decoding": {"kind": "greedy"}, "resamples": 20, "latency_inputs": 1, "repeats": 1},
    }
    finished = run(check_recipe(plain), out=tmp_path / "runs")
    responses, cache = finished.facts["api_responses"], finished.stages["api_logprobs_teacher"]
    logprobs = LogprobCache.open(cache)
    mass = np.exp(logprobs.at(np.arange(len(logprobs.counts_P))).logp_PK.astype(np.float64)).sum(axis=1)

    assert responses["with_logprobs"] == responses["texts"] > 0
    assert responses["logprob_alignment"]["exact"] + responses["logprob_alignment"]["merged"] > 0.2
    assert mass.max() < 1 + 1e-5


def test_with_the_servers_tokenizer_alignment_loses_nothing(inputs: Path, tmp_path: Path) -> None:
    """Every token is the student's too: the rows equal the server's log-probabilities."""
    foreign = pytest.importorskip("tests.api_teacher.foreign", reason="needs gguf")
    examples = forecast_task(labeled=1500, unlabeled=1, dev=1, test=1, seed=1).labeled
    token_bytes = TokenBytes(foreign.tokenizer_of([part for e in examples for part in (f"{e.source}\n", e.targets[0])]))
    done = collect(inputs, Endpoint.model_validate(settings()), out=tmp_path / "out")
    compared = 0
    for choice in choices_of(done.folder):
        positions = positions_of(ResponseLogprobs(0, choice["text"], 0, choice["logprobs"]))
        ids = [token_bytes.id_of(position.token) for position in positions if position.token]
        if None in ids or choice["text"].encode() != b"".join(position.token for position in positions):
            continue  # half a character
        rows = align_logprobs(
            positions, [i for i in ids if i], token_bytes, text=choice["text"].encode(), start=0, kept=6
        )
        for row, position in enumerate(position for position in positions if position.token):
            reported = {token_bytes.id_of(token): logprob for token, logprob in position.top if token}
            reported[ids[row]] = position.logprob
            reported = dict(sorted(reported.items(), key=lambda pair: -pair[1])[:6])
            kept = dict(zip(rows.ids_TK[row].tolist(), rows.logp_TK[row].tolist(), strict=True))

            assert {i: p for i, p in kept.items() if exp(p) > 1e-6} == pytest.approx(
                {i: p for i, p in reported.items() if exp(p) > 1e-6}, abs=1e-5
            )
            compared += 1
    assert compared > 100
