"""Runs whose teacher is an API: from inputs without labels to a report."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.api_teacher.server import RequestLog
from tests.pipeline.api_teacher_recipe import (
    HELD_OUT,
    INPUTS,
    UNREACHABLE,
    labeled_files,
    recipe_of,
    run_plain,
    serving,
)

from understudy.cli.printing import print_scores
from understudy.errors import EvaluationError, ModelError
from understudy.pipeline.inspect.compare import score_split
from understudy.pipeline.inspect.comparison import compare
from understudy.pipeline.inspect.deploy import teacher_endpoint
from understudy.pipeline.inspect.diagnose import diagnose
from understudy.pipeline.inspect.export import export_run
from understudy.pipeline.run import Run
from understudy.pool.logprob_cache import LogprobCache
from understudy.pool.pool import PseudoTargetPool
from understudy.report.verdict import verdict
from understudy.serving.card import Statements
from understudy.store.manifest import read_manifest


@dataclass(frozen=True)
class ApiRun:
    """A finished run, its server, and the number of requests that it sent."""

    run: Run
    folder: Path
    address: str
    log: RequestLog
    requests: int

    def recipe(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - sections of a recipe
        """The run's recipe with other sections."""
        return recipe_of(self.folder, self.address, **changes)


@pytest.fixture(scope="module", autouse=True)
def _key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_KEY", "any word")
        patch.setattr("understudy.api_teacher.scheduler.FIRST_PAUSE_S", 0.0)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, _key: None) -> Iterator[ApiRun]:
    """The recipe, run once for all tests of this module; its server goes on running."""
    folder, log = tmp_path_factory.mktemp("api"), RequestLog(share=0.0)
    with serving(log) as address:
        run = run_plain(recipe_of(folder, address), folder / "runs")
        yield ApiRun(run, folder, address, log, sum(log.requests.values()))


def test_inputs_without_labels_become_a_student_with_a_report(finished: ApiRun) -> None:
    """Each input gets two texts, each that is held out a reference and a prediction, all with one request."""
    facts, learned = finished.run.facts, len(INPUTS) - HELD_OUT
    api = facts["api_responses"]
    teacher, student = facts["systems"]

    assert [teacher["name"], student["name"]] == ["teacher", "extreme_logits"]
    assert api["inputs"] == len(INPUTS)
    assert api["texts"] == 2 * learned == api["with_logprobs"]
    assert api["requests"] >= finished.requests == len(INPUTS)  # a request whose connection was lost is sent again
    assert teacher["scores"]["bleu"]["value"] == pytest.approx(100)
    assert "nll" not in teacher["scores"]
    assert student["scores"]["nll"]["value"] > 0
    assert facts["gap_closed"] == {}
    assert any("teacher wrote the references" in note for note in facts["notes"])
    assert re.search(r"has not learned: BLEU is 0\.0; .*never moved in 2 evaluations", verdict(facts))
    assert 'id="api-responses"' in (finished.run.folder / "report.html").read_text()


def test_an_exported_student_warns_of_terms_that_were_not_stated(finished: ApiRun, tmp_path: Path) -> None:
    """Until they are; the card names the endpoint's model as the teacher."""
    silent = export_run(finished.run.folder, "hf", out=tmp_path / "a")
    stated = export_run(
        finished.run.folder, "hf", out=tmp_path / "b", statements=Statements(teacher_licence="terms of 2026")
    )
    cards = [(tmp_path / name / "README.md").read_text(encoding="utf-8") for name in "ab"]
    assert "restrict training other models" in str(silent.warning)
    assert str(silent.warning) in cards[0]
    assert stated.warning is None
    assert "**Warning.**" not in cards[1]
    assert "behind an API; licence or terms: terms of 2026" in cards[1]


def test_the_price_of_the_api_gives_the_cost_of_its_requests(finished: ApiRun) -> None:
    """All requests are for two texts here. Without the machine's price there is no cost of the student."""
    api, costs = finished.run.facts["api_responses"], finished.run.facts["costs"]

    assert api["request_texts"] == 2
    assert costs["per_1000"] == {"teacher": pytest.approx(1000 * (api["spent"] or 0) / len(INPUTS), rel=0.05)}
    assert (costs["api"], costs["distillation"], costs["break_even"]) == (api["spent"], None, None)
    assert "evaluation.price_per_hour" in (finished.run.folder / "report.html").read_text()


def test_its_endpoint_can_answer_for_the_student(finished: ApiRun) -> None:
    """Its model, prompt, key and price are the default, and its address where none is given."""
    folder = finished.run.folder
    own = teacher_endpoint(folder, "teacher", {})
    assert (own.model, own.base_url, own.key, own.max_tokens) == ("m", finished.address, "SOME_KEY", 16)
    other = teacher_endpoint(folder, UNREACHABLE, {"model": "n"}, ["price.output=3"])
    assert (other.model, other.base_url, other.prompt) == ("n", UNREACHABLE, own.prompt)
    assert other.price is not None
    assert (other.price.input, other.price.output) == (1.0, 3.0)


def test_such_a_run_is_scored_again_and_refuses_a_diagnosis(
    finished: ApiRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """The teacher has no likelihood of gold: the table shows a dash, and there is no network to diagnose."""
    folder, (teacher, student) = finished.run.folder, finished.run.facts["systems"]
    scores = score_split(folder, split="test")
    print_scores(scores)

    assert [score.value for score in scores["teacher"]] == pytest.approx([100, 100])
    assert scores["extreme_logits"][0].value == pytest.approx(student["scores"]["bleu"]["value"])
    assert scores["teacher"][0].signature == teacher["scores"]["bleu"]["signature"]
    assert "decoding:sampling" in scores["teacher"][0].signature
    assert re.search(r"nll\s↓\s+–\s+\d", capsys.readouterr().out)
    with pytest.raises(ModelError, match="API"):
        diagnose(folder)


def test_such_a_run_is_compared_with_its_teacher(finished: ApiRun) -> None:
    """With its second responses; only the API has a price, and only the student a likelihood."""
    found = compare([finished.run.folder], require=["bleu >= teacher - 100"])
    candidate, teacher = found.facts["systems"]

    assert found.holds is True
    assert set(found.facts["metrics"]["nll"]["scores"]) == {candidate}
    assert found.facts["costs"]["cost_per_1000"]["values"][candidate] is None
    assert found.facts["costs"]["cost_per_1000"]["values"][teacher] is not None
    assert any("wrote the references" in note for note in found.facts["notes"])
    with pytest.raises(EvaluationError, match=r"cost_per_1000 of .* is not known"):
        compare([finished.run.folder], require=["cost_per_1000 <= teacher - 50%"])
    with pytest.raises(EvaluationError, match="nll needs the log-likelihood"):
        compare([finished.run.folder], require=["nll <= teacher"])


def test_another_method_reuses_the_responses(finished: ApiRun) -> None:
    """A second run over the same store sends no request."""
    again = run_plain(finished.recipe(name="other", distil={"method": "extreme_fine_tune"}), finished.folder / "runs")
    reused = {stage["name"]: stage["reused"] for stage in again.facts["stages"]}

    assert sum(finished.log.requests.values()) == finished.requests
    assert reused["api_responses"]
    assert not reused["student"]
    assert again.stages["api_responses"] == finished.run.stages["api_responses"]


def test_log_probabilities_are_aligned_with_the_students_tokens(finished: ApiRun) -> None:
    """A word of the API is several tokens of the student: the first takes its probability, the others are text."""
    shares, cache = (
        finished.run.facts["api_responses"]["logprob_alignment"],
        finished.run.stages["api_logprobs_teacher"],
    )
    assert cache.name in read_manifest(finished.run.stages["extreme_logits"]).inputs.values()
    pool = PseudoTargetPool.open(finished.run.stages["pseudo_targets"])
    kept = LogprobCache.open(cache).at(np.arange(len(pool.token_ids)))
    ids, logp = kept.ids_PK, kept.logp_PK

    assert len(LogprobCache.open(cache).counts_P) == len(pool.token_ids)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["exact"] + shares["merged"] > 0.1
    mass = np.exp(logp.astype(np.float64)).sum(axis=1)
    known = mass < 1 - 1e-6
    # The student has no token for the snowman, but at the beginning it and the word follow a space, which is a token.
    assert set(mass[known].round(5)) == {round(np.exp(-0.1), 5), round(np.exp(-0.1) + np.exp(-2.5), 5)}
    assert known.mean() == pytest.approx(shares["exact"] + shares["merged"])
    assert all(ids[~known, 0] == pool.token_ids[~known])


def test_references_of_dev_can_come_from_the_teacher(tmp_path: Path) -> None:
    """The gold of dev is not read; test keeps its own, and a few labels give a baseline."""
    with serving(RequestLog(share=0.0)) as address:
        plain = recipe_of(tmp_path, address)
        files = labeled_files(tmp_path)
        rows = [json.dumps({"source": source}) + "\n" for source in INPUTS[20:]]
        (tmp_path / "inputs.jsonl").write_text("".join(rows))
        plain["task"] |= {
            "files": {"unlabeled": str(tmp_path / "inputs.jsonl"), **files},
            "held_out": {},
            "pseudo_references": ["dev"],
        }
        finished = run_plain(plain, tmp_path / "runs")
    predictions = finished.stages["predictions_extreme_logits"]
    dev, test = ((predictions / f"{split}.jsonl").read_text() for split in ("dev", "test"))

    assert {system["name"] for system in finished.facts["systems"]} == {"teacher", "fine_tuned", "extreme_logits"}
    assert "gold" not in dev
    assert INPUTS[6].upper() in dev
    assert f"gold of {INPUTS[12]}" in test


def test_the_student_of_an_api_is_compared_with_a_second_text_of_the_teacher(finished: ApiRun) -> None:
    """The references are its first texts. This teacher repeats itself, and no text of the student is as good."""
    own = finished.run.facts["confidence"]
    page = (finished.run.folder / "report.html").read_text()

    assert own["not_worse"] == 0
    assert own["ranking"] is None
    assert own["test"][0]["score"] == pytest.approx(finished.run.facts["systems"][1]["scores"]["bleu"]["value"])
    assert (own["test"][-1]["score"], own["test"][-1]["quality"]) == pytest.approx((100, 1))
    assert "its score is that of a second text" in page
