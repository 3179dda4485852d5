"""Comparisons of finished runs and of files of outputs: the numbers of the report, names, requirements, refusals."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sacrebleu import corpus_bleu

from understudy.errors import ConfigError, DataError, EvaluationError, UnderstudyError
from understudy.evaluation.metrics import SystemOutputs
from understudy.evaluation.predictions import read_predictions
from understudy.pipeline.inspect.compared_systems import ComparedSystem, on_test_set_of
from understudy.pipeline.inspect.comparison import RunComparison, compare
from understudy.pipeline.inspect.open import open_run
from understudy.pipeline.run import Run
from understudy.records import Prediction

CLAIMS = ("a cheap pub", "a dear inn near the old river", "the blue bar is open on most days", "a pub by the sea")


@pytest.fixture(scope="module")
def alone(finished: Run) -> RunComparison:
    """One run without requirements."""
    return compare([finished.folder])


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def predictions_of(done: Run, system: str) -> list[Prediction]:
    """What a system was scored with."""
    return read_predictions(open_run(done.folder).predictions(system) / "test.jsonl")


def test_one_run_is_compared_with_its_teacher_and_its_fine_tuned_student(alone: RunComparison) -> None:
    """The student is the candidate."""
    assert alone.facts["candidate"] == "tiny:student"
    assert list(alone.facts["systems"]) == ["tiny:student", "tiny:teacher", "tiny:fine_tuned"]
    assert alone.holds is None
    assert any("8 examples" in note for note in alone.facts["notes"])
    assert alone.page is None


def test_the_numbers_are_those_of_the_report(alone: RunComparison, finished: Run) -> None:
    """Scores, paired differences, rates of items, health and costs, to the last digit, with the same signatures.

    A system without any item has no rate, and so no difference from it.
    """
    report = finished.facts
    names = {"tiny:student": report["method"], "tiny:teacher": "teacher", "tiny:fine_tuned": "fine_tuned"}
    reported = {system["name"]: system for system in report["systems"]}
    for metric, row in alone.facts["metrics"].items():
        for name, own in names.items():
            score = reported[own]["scores"][metric]
            assert row["scores"][name] == {key: score[key] for key in ("value", "low", "high")}
            assert row["signatures"][name] == score["signature"]
        assert row["advantages"]["tiny:fine_tuned"] == report["differences"][metric]
        assert row["advantages"]["tiny:teacher"] == report["teacher_differences"][metric]
    outputs = alone.facts["outputs"]
    for key, metric in (("missing", "source_missing"), ("invented", "source_invented")):
        if outputs[metric]["scores"]["tiny:teacher"]["value"] is None:
            assert "nothing that" in outputs[metric]["advantages"]["tiny:teacher"]["note"]
        else:
            assert outputs[metric]["advantages"]["tiny:teacher"] == report["consistency"]["advantages"][key]
        for name, own in names.items():
            reported_rate, rate = report["consistency"]["systems"][own][key], outputs[metric]["scores"][name]  # type: ignore[literal-required]
            assert all(rate[end] == reported_rate[end] for end in ("value", "low", "high"))
    for name, own in names.items():
        assert outputs["repetition"]["scores"][name]["value"] == pytest.approx(
            100 * report["health"][own]["repetition"]
        )
        assert outputs["empty"]["scores"][name]["value"] == pytest.approx(100 * report["health"][own]["empty"])
        assert alone.facts["costs"]["latency_p50"]["values"][name] == reported[own]["latency_ms"]["p50"]
        assert alone.facts["costs"]["parameters"]["values"][name] == reported[own]["parameters"]


def test_systems_of_two_runs_are_compared_on_the_same_examples(finished: Run) -> None:
    """Each point estimate is that of the system's own report, and the other direction has the other sign."""
    one, other = f"second={finished.folder}:fine_tuned", str(finished.folder)
    found = compare([one, other])
    reported = {system["name"]: system["scores"] for system in finished.facts["systems"]}["fine_tuned"]

    assert list(found.facts["systems"]) == ["second:fine_tuned", "tiny:student"]
    assert {metric: row["scores"]["second:fine_tuned"]["value"] for metric, row in found.facts["metrics"].items()} == {
        metric: score["value"] for metric, score in reported.items()
    }
    back = compare([other, one])
    for metric, row in found.facts["metrics"].items():
        there = back.facts["metrics"][metric]["advantages"]["second:fine_tuned"]["value"]
        assert row["advantages"]["tiny:student"]["value"] == pytest.approx(-(there or 0))


def test_requirements_name_systems_in_every_form(finished: Run) -> None:
    """Short names are those of the first run; a system that only a requirement names is loaded too."""
    systems = [f"second={finished.folder}", str(finished.folder)]
    texts = [
        "bleu >= teacher - 100",
        "bleu >= student - 0",
        "bleu >= tiny - 0%",
        "bleu >= tiny:fine_tuned - 100",
        "nll <= joint_teaching + 5%",
        "exact_match >= 0",
        "empty <= 100",
        "parameters <= tiny:student",
        "latency_p95 <= 60000",
        "bleu > teacher + 100",
    ]
    found = compare(systems, require=texts)

    assert [one["requirement"] for one in found.facts["requirements"]] == texts
    assert [one["holds"] for one in found.facts["requirements"]] == [True] * 9 + [False]
    assert found.holds is False
    assert list(found.facts["systems"]) == ["second:student", "tiny:student", "second:teacher", "tiny:fine_tuned"]
    assert "exact_match" in found.facts["metrics"]
    assert compare(systems, require=texts[:9]).holds is True


def test_point_estimate_and_interval_can_disagree(alone: RunComparison, finished: Run) -> None:
    """A bound between the low end of the paired interval and the value holds, and not confidently."""
    own = alone.facts["metrics"]["chrf"]["advantages"]["tiny:teacher"]
    assert own["value"] is not None
    assert own["low"] is not None
    middle = (own["value"] + own["low"]) / 2
    text = f"chrf >= teacher {'-' if middle < 0 else '+'} {abs(middle)!r}"

    found, sure = (compare([finished.folder], require=[text], confident=confident) for confident in (False, True))

    judged = found.facts["requirements"][0]
    assert (judged["holds"], judged["holds_confidently"]) == (True, False)
    assert (found.holds, sure.holds) == (True, False)
    assert judged["margin"]["low"] == pytest.approx(own["low"] - middle)
    assert judged["margin"]["value"] == pytest.approx(own["value"] - middle)


def test_outputs_that_were_generated_are_found_by_their_sources(finished: Run, tmp_path: Path) -> None:
    """Rows without ids, in any order, with columns of the inputs that other tools might use for outputs."""
    teacher = predictions_of(finished, "teacher")
    rows = [
        {"source": one.source, "text": "a column", "output": one.text, "confidence": 0.5, "finished": True}
        for one in reversed(teacher)
    ]
    file = write_rows(tmp_path / "outputs.jsonl", rows)

    found = compare([f"new={file}", finished.folder], require=["bleu >= teacher - 0", "bleu <= teacher"][:1])

    bleu = found.facts["metrics"]["bleu"]["scores"]
    assert bleu["new"] == bleu["tiny:teacher"]
    assert "new" not in found.facts["metrics"]["nll"]["scores"]
    assert found.facts["systems"]["tiny:teacher"]["equal_texts"] == len(teacher)
    assert found.holds is True
    write_rows(file, rows[1:])
    with pytest.raises(EvaluationError, match=r"1 sources without an output"):
        compare([file, finished.folder])


def test_files_alone_are_compared_with_a_labeled_file(tmp_path: Path) -> None:
    """Default metrics without likelihood; sacrebleu gives the same BLEU and difference."""
    labeled = [{"source": f"place {i}", "target": f"{text} {i}"} for i, text in enumerate(CLAIMS * 3)]
    references = write_rows(tmp_path / "test.jsonl", labeled)
    one = write_rows(tmp_path / "one.jsonl", [row | {"output": row["target"] + " now"} for row in labeled])
    other = tmp_path / "other.txt"
    other.write_text("".join(f"{row['target'][2:]}\n" for row in labeled))

    found = compare([one, other], references=references, require=["bleu >= other", "source_invented <= 0"])

    texts = [row["target"] for row in labeled]
    values = [corpus_bleu(own, [texts]).score for own in ([f"{t} now" for t in texts], [t[2:] for t in texts])]
    row = found.facts["metrics"]["bleu"]
    assert [row["scores"][name]["value"] for name in ("one", "other")] == pytest.approx(values)
    assert row["advantages"]["other"]["value"] == pytest.approx(values[0] - values[1])
    assert set(found.facts["metrics"]) == {"bleu", "chrf", "rouge", "distinct_2"}
    assert found.facts["costs"] == {}
    assert found.holds is True
    assert (
        compare([one, other], references=references, metrics=["exact_match"]).facts["primary_metric"] == "exact_match"
    )


def on_places(name: str, places: Sequence[int], reference: str = "a pub") -> ComparedSystem:
    """A system evaluated on these inputs."""
    own = [Prediction(f"{name}-{i}", f"place {i}", (reference,), "a pub") for i in places]
    return ComparedSystem(name, name, SystemOutputs(own), {}, "")


def test_other_test_sets_are_refused_with_what_they_share() -> None:
    """Inputs, references or their order differ; ids do not matter."""
    first = on_places("one", range(4))
    same = on_test_set_of(first, on_places("other", range(4)))
    assert [one.id for one in same.outputs.predictions] == ["one-0", "one-1", "one-2", "one-3"]
    for other, told in [
        (on_places("other", range(2, 7)), r"4 inputs \(digest \w{16}\) and 5 .*2 inputs are shared and 2 of these"),
        (on_places("other", range(4), "an inn"), r"4 inputs are shared and 0 of these have equal references;"),
        (on_places("other", [1, 0, 2, 3]), r"4 of these have equal references, in another order; compare"),
    ]:
        with pytest.raises(EvaluationError, match=rf"^one and other were evaluated on different test sets: .*{told}"):
            on_test_set_of(first, other)


def test_mistakes_are_one_sentence(finished: Run, tmp_path: Path) -> None:
    """Paths, names, systems, splits and requirements that cannot be judged."""
    folder, file = finished.folder, write_rows(tmp_path / "teacher.jsonl", [])
    cases: list[tuple[list[str | Path], dict[str, Any], type[UnderstudyError], str]] = [
        ([], {}, ConfigError, "needs a system"),
        (["nowhere"], {}, DataError, "there is no 'nowhere'"),
        (["x" * 5000], {}, DataError, "there is no 'xxx.*give the folder"),
        ([f"{folder}:techer"], {}, ConfigError, "unknown system 'tiny:techer'.*did you mean 'tiny:teacher'"),
        ([folder, f"a={folder}", folder], {}, EvaluationError, "tiny:student is given twice"),
        ([folder, f"tiny={file}"], {}, EvaluationError, "second system named 'tiny'; name it yourself, as other="),
        ([folder, file], {}, EvaluationError, "'teacher' is the name of an argument and of a system"),
        ([file], {}, EvaluationError, "give --references FILE"),
        ([folder], {"references": file}, EvaluationError, "leave --references out"),
        ([folder], {"split": "train"}, ConfigError, "unknown split 'train'"),
        ([folder], {"metrics": ["blue"]}, ConfigError, "unknown metric 'blue'"),
        ([folder], {"require": ["bleu >= old - 1"]}, ConfigError, "column 9: .*known systems: tiny:teacher"),
        ([folder], {"require": ["cost_per_1000 <= 1"]}, EvaluationError, "set evaluation.price_per_hour"),
        ([folder], {"require": ["bertscore >= 1"]}, ConfigError, "bertscore"),
    ]
    for systems, options, kind, sentence in cases:
        with pytest.raises(kind, match=sentence) as refused:
            compare(systems, **options)
        assert "\n" not in str(refused.value)


def test_the_page_and_its_json_are_written(finished: Run, tmp_path: Path) -> None:
    """Into a folder that is made; again with the same bytes."""
    written = compare([finished.folder], require=["bleu >= teacher - 1"], out=tmp_path / "new" / "folder")
    assert written.page == tmp_path / "new" / "folder" / "comparison.html"
    first = written.page.read_bytes(), written.page.with_suffix(".json").read_bytes()
    compare([finished.folder], require=["bleu >= teacher - 1"], out=tmp_path / "new" / "folder")

    assert json.loads(first[1]) == written.facts
    assert (written.page.read_bytes(), written.page.with_suffix(".json").read_bytes()) == first
