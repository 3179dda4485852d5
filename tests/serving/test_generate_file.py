"""Outputs for the rows of a file: those of the evaluation, in the file's order, once, whatever interrupts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from understudy.errors import DataError, GenerationError
from understudy.evaluation.predictions import read_predictions
from understudy.pipeline.inspect.deploy import confidence_of, deployment, record_settings
from understudy.pipeline.inspect.open import open_run
from understudy.pipeline.run import Run
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.serving.deployment import Answer, Answering, open_deployment
from understudy.serving.generate_file import ROWS_TOGETHER, OutputFiles, generate_file, refuse_failed


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def generated(run: Run, inputs: Path, out: Path, system: str = "student") -> OutputFiles:
    """The files that the command writes."""
    with open_deployment(deployment(run.folder, system), device="cpu", threads=1) as answering:
        return generate_file(answering, inputs, out, settings=record_settings(run.folder))


@pytest.fixture(scope="module")
def sources(finished: Run) -> list[str]:
    """The sources of the test set."""
    folder = open_run(finished.folder).predictions("teacher")
    return [one.source for one in read_predictions(folder / "test.jsonl")]


@pytest.mark.parametrize("system", ["student", "teacher", "fine_tuned"])
def test_outputs_are_the_evaluated_predictions(finished: Run, sources: list[str], tmp_path: Path, system: str) -> None:
    """Each system gives for the test set the texts that were scored."""
    run = open_run(finished.folder)
    name = run.facts["method"] if system == "student" else system
    inputs = write(tmp_path / "in.jsonl", [{"source": source} for source in sources])

    files = generated(finished, inputs, tmp_path / "out.jsonl", system)

    scored = [one.text for one in read_predictions(run.predictions(name) / "test.jsonl")]
    assert [row["output"] for row in lines(files.outputs)] == scored
    assert (files.rows, files.answered) == (len(scored), len(scored))
    assert not files.failed.exists()


def test_no_column_of_the_file_is_overwritten(finished: Run, sources: list[str], tmp_path: Path) -> None:
    """Neither where the outputs of such a call are the inputs of the next one, and again."""
    row = {"source": sources[0], "output": "a", "understudy_output": "b"}
    (line,) = lines(generated(finished, write(tmp_path / "in.jsonl", [row]), tmp_path / "out.jsonl").outputs)
    assert {**line, **row} == line
    assert line["understudy_understudy_output"]


def test_ids_columns_and_order_are_kept_and_bad_rows_are_listed(
    finished: Run, sources: list[str], tmp_path: Path
) -> None:
    """A row without a usable source is in the second file, with its columns and the reason."""
    rows: list[dict[str, Any]] = [
        {"id": 7, "source": sources[0], "price": 1.5, "output": "mine"},
        {"id": 8, "source": " "},
        {"id": 9, "source": "word " * 500},
        {"id": 10},
        {"id": 7, "source": sources[0], "note": None},
    ]
    files = generated(finished, write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl")

    first, last = lines(files.outputs)
    assert list(first) == ["id", "source", "price", "output", "understudy_output", "confidence", "finished"]
    assert (first["id"], first["price"], first["output"]) == (7, 1.5, "mine")
    assert (last["id"], last["note"], last["understudy_output"]) == (7, None, first["understudy_output"])
    assert 0 < first["confidence"] <= 1
    empty, long, missing = lines(files.failed)
    assert [row["id"] for row in (empty, long, missing)] == [8, 9, 10]
    assert "is empty" in empty["reason"]
    assert "tokens and the limit is 160" in long["reason"]
    assert "no 'source'" in missing["reason"]
    with pytest.raises(GenerationError, match="3 of 5 rows have no output"):
        refuse_failed(files)


def test_a_calibrated_confidence_is_a_column_of_its_own(finished: Run, sources: list[str], tmp_path: Path) -> None:
    """The probability is that of the row's confidence."""
    known = confidence_of(finished.folder)
    assert known
    inputs = write(tmp_path / "in.jsonl", [{"source": source} for source in sources[:3]])
    with open_deployment(deployment(finished.folder), device="cpu", threads=1) as answering:
        settings = record_settings(finished.folder)
        files = generate_file(
            answering, inputs, tmp_path / "out.jsonl", settings=settings, calibration=known.calibration
        )

    for row in lines(files.outputs):
        assert list(row) == ["source", "output", "confidence", "finished", "probability"]
        assert row["probability"] == pytest.approx(known.calibration.probability(row["confidence"]), abs=1e-5)


class Interrupted(Exception):
    """Stands for a kill."""


def test_an_interrupted_file_goes_on_where_it_stopped(finished: Run, sources: list[str], tmp_path: Path) -> None:
    """The second call answers only what is missing, also after half a line was written, and the bytes are equal."""
    rows = [{"id": i, "source": sources[i % len(sources)] if i % 100 else ""} for i in range(ROWS_TOGETHER + 40)]
    inputs = write(tmp_path / "in.jsonl", rows)
    whole = generated(finished, inputs, tmp_path / "whole.jsonl")
    asked: list[int] = []

    class Killed(Answering):
        def answers(self, sources: Sequence[str], progress: ProgressCallback = NO_PROGRESS) -> list[Answer]:
            asked.append(len(sources))
            if len(asked) == 2:
                raise Interrupted
            return super().answers(sources, progress)

    out = tmp_path / "out.jsonl"
    with open_deployment(deployment(finished.folder), device="cpu", threads=1) as answering:
        answering.__class__ = Killed
        with pytest.raises(Interrupted):
            generate_file(answering, inputs, out, settings=record_settings(finished.folder))
        with (tmp_path / "out.jsonl.partial").open("a", encoding="utf-8") as file:
            file.write('{"id": 3, "outp')
        files = generate_file(answering, inputs, out, settings=record_settings(finished.folder))

    assert not out.with_name("out.jsonl.state.json").exists()
    assert asked[1:] == [asked[1], asked[1]]  # the second block, twice
    assert files.outputs.read_bytes() == whole.outputs.read_bytes()
    assert files.failed.read_bytes() == whole.failed.read_bytes()


def test_nothing_is_overwritten_and_other_inputs_do_not_continue(
    finished: Run, sources: list[str], tmp_path: Path
) -> None:
    """A finished file stays; a partial one of other inputs is refused."""
    inputs = write(tmp_path / "in.jsonl", [{"source": sources[0]}])
    out = tmp_path / "out.jsonl"
    files = generated(finished, inputs, out)
    before = files.outputs.read_bytes()

    with pytest.raises(DataError, match="exists; move it away"):
        generated(finished, inputs, out)
    assert out.read_bytes() == before

    other = tmp_path / "other.jsonl"
    other.with_name("other.jsonl.state.json").write_text('{"key": "x"}', encoding="utf-8")
    with pytest.raises(DataError, match="was begun from other inputs"):
        generated(finished, inputs, other)


def test_a_conversation_log_is_answered_like_a_source(finished: Run, sources: list[str], tmp_path: Path) -> None:
    """The formats of training data are read; the columns of the log are kept."""
    messages = [{"role": "user", "content": sources[0]}]
    logged = generated(finished, write(tmp_path / "log.jsonl", [{"messages": messages}]), tmp_path / "a.jsonl")
    plain = generated(finished, write(tmp_path / "in.jsonl", [{"source": sources[0]}]), tmp_path / "b.jsonl")

    (from_log,), (from_source,) = lines(logged.outputs), lines(plain.outputs)
    assert from_log["output"] == from_source["output"]
    assert from_log["messages"] == messages
