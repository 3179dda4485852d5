"""A recipe whose teacher stands behind an endpoint, from inputs without labels to a report."""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.api_teacher.server import RequestLog, completion, serve
from tests.pipeline.bought import INPUTS, done, recipe_of
from understudy.pipeline.compare import score_split
from understudy.pipeline.diagnose import diagnose

from understudy.cli.printing import print_scores
from understudy.errors import DataError, GenerationError, ModelError
from understudy.pool.logprob_cache import IDS, LOGP
from understudy.pool.pool import PseudoTargetPool
from understudy.report.verdict import verdict


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "any word")
    monkeypatch.setattr("understudy.api_teacher.scheduler.FIRST_PAUSE_S", 0.0)


@pytest.fixture
def book() -> RequestLog:
    """What the server notes."""
    return RequestLog(share=0.0)


@pytest.fixture
def address(book: RequestLog) -> Iterator[str]:
    """Of a server that answers in capitals."""
    server = serve(book)
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()
    server.server_close()


def test_inputs_without_labels_become_a_student_with_a_report(
    tmp_path: Path, book: RequestLog, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two texts of each input, one reference and one answer of each that is held out; nobody is asked twice."""
    finished = done(recipe_of(tmp_path, address), tmp_path / "runs")
    facts = finished.facts
    asked = sum(book.requests.values())

    assert {system["name"] for system in facts["systems"]} == {"teacher", "extreme_logits"}
    bought = facts["api_responses"]
    assert bought["inputs"] == len(INPUTS)
    assert bought["texts"] == 2 * (len(INPUTS) - 14) == bought["with_logprobs"]
    assert bought["requests"] >= asked == len(INPUTS)  # one whose connection was lost is no question put
    teacher, student = facts["systems"]
    assert teacher["scores"]["bleu"]["value"] == pytest.approx(100)
    assert "nll" not in teacher["scores"]
    assert student["scores"]["nll"]["value"] > 0
    assert facts["gap_closed"] == {}
    assert any("There is no gold" in note for note in facts["notes"])
    assert re.search(r"scores 0\.0 in BLEU .* references .* teacher .* 100\.0", verdict(facts))
    page = (finished.folder / "report.html").read_text()
    assert 'id="api-responses"' in page

    scores = score_split(finished.folder, split="test")
    assert [score.value for score in scores["teacher"]] == pytest.approx([100, 100])
    assert scores["extreme_logits"][0].value == pytest.approx(student["scores"]["bleu"]["value"])
    print_scores(scores)
    assert re.search(r"nll\s+\S\s+–\s+\S\s+\d", capsys.readouterr().out)  # the teacher cannot tell
    with pytest.raises(ModelError, match="stands behind an endpoint, which only writes"):
        diagnose(finished.folder)

    again = done(recipe_of(tmp_path, address, distil={"method": "extreme_fine_tune"}), tmp_path / "runs")

    assert sum(book.requests.values()) == asked
    assert again.stages["bought"].reused


def test_what_the_endpoint_told_is_aligned_to_the_students_tokens(tmp_path: Path, address: str) -> None:
    """A word of the endpoint is several vocab_size of the student: the first takes its probability, the others are text."""
    finished = done(recipe_of(tmp_path, address), tmp_path / "runs")
    shares = finished.facts["api_responses"]["logprob_alignment"]
    student = finished.stages["extreme_logits"]
    (signal,) = student.folder.parent.glob(f"*-{student.manifest.inputs['signal_teacher']}")
    pool = PseudoTargetPool.open(finished.stages["pool"].folder)
    ids, logp = np.load(signal / IDS), np.load(signal / LOGP)

    assert len(ids) == len(pool.token_ids)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["exact"] + shares["merged"] > 0.1
    mass = np.exp(logp.astype(np.float64)).sum(axis=1)
    told = mass < 1 - 1e-6
    # The snowman is no piece of the student, but at the beginning both it and the word follow a space, which is one.
    assert set(mass[told].round(5)) == {round(np.exp(-0.1), 5), round(np.exp(-0.1) + np.exp(-2.5), 5)}
    assert told.mean() == pytest.approx(shares["exact"] + shares["merged"])
    assert all(ids[~told, 0] == pool.token_ids[~told])


def test_more_texts_buy_only_what_is_lacking(tmp_path: Path, book: RequestLog, address: str) -> None:
    """From two texts of each input to three: one more request of each."""
    done(recipe_of(tmp_path, address), tmp_path / "runs")
    asked = sum(book.requests.values())
    finished = done(recipe_of(tmp_path, address, pseudo_targets={"per_input": 3}), tmp_path / "runs")

    assert sum(book.requests.values()) - asked == len(INPUTS) - 14
    assert finished.facts["api_responses"]["texts"] == 3 * (len(INPUTS) - 14)


def test_dev_may_be_made_of_the_teachers_texts(tmp_path: Path, address: str) -> None:
    """The gold of dev is not even read; test keeps its own, and a few labels give a baseline."""
    plain = recipe_of(tmp_path, address)
    for split, lines in (("labeled", INPUTS[:6]), ("dev", INPUTS[6:12]), ("test", INPUTS[12:20])):
        rows = [{"id": line, "source": line, "target": f"gold of {line}"} for line in lines]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "inputs.jsonl").write_text("".join(json.dumps({"source": line}) + "\n" for line in INPUTS[20:]))
    files = {split: str(tmp_path / f"{split}.jsonl") for split in ("labeled", "dev", "test")}
    plain["task"] |= {
        "files": {"unlabeled": str(tmp_path / "inputs.jsonl"), **files},
        "held_out": {},
        "pseudo_references": ["dev"],
    }
    finished = done(plain, tmp_path / "runs")

    assert {system["name"] for system in finished.facts["systems"]} == {"teacher", "fine_tuned", "extreme_logits"}
    dev = (finished.stages["answers_extreme_logits"].folder / "dev.jsonl").read_text()
    test = (finished.stages["answers_extreme_logits"].folder / "test.jsonl").read_text()
    assert "gold" not in dev
    assert INPUTS[6].upper() in dev
    assert f"gold of {INPUTS[12]}" in test


def test_a_budget_stops_a_recipe_and_a_larger_one_goes_on(tmp_path: Path, book: RequestLog, address: str) -> None:
    """What the server has billed is at most the budget; nothing is bought twice, and the key is on no disk."""
    plain = recipe_of(tmp_path, address)
    plain["teacher"]["endpoint"]["budget"] = 0.0005

    with pytest.raises(GenerationError, match=r"budget of 0\.0005 .*\d+ inputs were not requested"):
        done(plain, tmp_path / "runs")
    billed = sum(tokens_in + 2 * tokens_out for _, tokens_in, tokens_out in book.billed) / 1e6
    before = dict(book.requests)
    plain["teacher"]["endpoint"]["budget"] = 1.0
    finished = done(plain, tmp_path / "runs")

    assert 0 < billed <= 0.0005
    assert 0 < len(before) < len(INPUTS)
    assert set(book.requests.values()) == {1}
    assert finished.facts["api_responses"]["texts"] == 2 * (len(INPUTS) - 14)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"any word" in path.read_bytes()]


def test_too_many_failures_stop_the_run(tmp_path: Path) -> None:
    """A server that is down for a third of the inputs is not a set of bad inputs."""
    server = serve(RequestLog(share=0.9))
    plain = recipe_of(tmp_path, f"http://127.0.0.1:{server.server_address[1]}/v1")
    plain["teacher"]["endpoint"] |= {"attempts": 1, "timeout_s": 0.3}

    with pytest.raises(GenerationError, match=r"\d+ of 42 inputs failed.*responses so far are kept"):
        done(plain, tmp_path / "runs")
    server.shutdown()
    server.server_close()


def test_a_task_without_such_inputs_is_refused_before_anybody_is_asked(
    tmp_path: Path, book: RequestLog, address: str
) -> None:
    """The method asks for unlabelled inputs, and all there are have labels."""
    plain = recipe_of(tmp_path, address)
    for split, lines in (("labeled", INPUTS[:6]), ("dev", INPUTS[6:12]), ("test", INPUTS[12:20])):
        rows = [{"source": line, "target": f"gold of {line}"} for line in lines]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {split: str(tmp_path / f"{split}.jsonl") for split in ("labeled", "dev", "test")}
    plain["task"] |= {"files": files, "held_out": {}}

    with pytest.raises(DataError, match="names unlabeled inputs, and the task has none of them"):
        done(plain, tmp_path / "runs")
    assert not book.requests


def test_answers_bought_before_are_not_bought_again(tmp_path: Path, book: RequestLog, address: str) -> None:
    """A file of the KD4Gen code stands in for requests; another file is another journal."""
    path, plain = tmp_path / "gpt.json", recipe_of(tmp_path, address)
    plain["pseudo_targets"] = {"per_input": 1}
    plain["teacher"]["endpoint"] |= {"recorded": str(path), "per_request": 1}
    for text in ("OLD", "NEW"):
        told = {"tokens": [[text]] * len(INPUTS), "logprobs": [[{text: -0.1}]] * len(INPUTS)}
        path.write_text(json.dumps({"train": {"text": INPUTS, **told}}))
        finished = done(plain, tmp_path / "runs")

        assert set(PseudoTargetPool.open(finished.stages["bought"].folder).texts) == {text}
        assert finished.facts["api_responses"]["requests"] >= 14  # a second text of each that is held out
    assert sum(book.requests.values()) == 28


def test_a_server_that_tells_no_log_probabilities_is_not_learned_from_by_them(
    tmp_path: Path, address: str, book: RequestLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The texts are kept, and learned as texts without another request."""
    silent = partial(completion, fault="no logprobs")
    monkeypatch.setattr("tests.api_teacher.server.completion", lambda question, asked, _fault: silent(question, asked))

    with pytest.raises(
        GenerationError, match=r"of \d+ texts have log-probabilities.*extreme_fine_tune.*texts are kept"
    ):
        done(recipe_of(tmp_path, address), tmp_path / "runs")
    asked = sum(book.requests.values())
    finished = done(recipe_of(tmp_path, address, distil={"method": "extreme_fine_tune"}), tmp_path / "runs")

    assert sum(book.requests.values()) == asked
    assert finished.facts["api_responses"]["with_logprobs"] == 0
