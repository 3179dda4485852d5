from pathlib import Path

import pytest
from pydantic import ValidationError

from understudy.config.task import (
    BertScore,
    Fields,
    FilesTask,
    ForecastSizes,
    ForecastTask,
    Format,
    Kd4gen,
    Splits,
    Task,
)
from understudy.evaluation.metrics import METRICS


@pytest.mark.parametrize("task", [Task(), ForecastTask(forecast=ForecastSizes())])
def test_the_default_metrics_are_metrics_there_are(task: Task) -> None:
    """The config names metrics without knowing them; its defaults are in the table."""
    assert set(task.metrics) <= set(METRICS)
    assert task.primary_metric in task.metrics


@pytest.mark.parametrize(
    ("metrics", "found"),
    [
        ((), r"metrics\n.*at least 1"),
        (("bleu", "chrf", "bleu"), r"metrics\n.*names bleu more than once; name each metric once"),
    ],
)
def test_metrics_are_a_set_that_is_not_empty(metrics: tuple[str, ...], found: str) -> None:
    """A metric named twice would be two columns with one name."""
    with pytest.raises(ValidationError, match=found):
        ForecastTask(forecast=ForecastSizes(), metrics=metrics)


def test_the_embedded_task_has_a_checker_of_its_own() -> None:
    """Another one would be ignored, so it cannot be given."""
    files = Splits(labeled=Path("l.jsonl"), dev=Path("d.jsonl"), test=Path("t.jsonl"))
    assert FilesTask(files=files, checker="own.py:check").checker == "own.py:check"

    with pytest.raises(ValidationError, match="checker"):
        ForecastTask.model_validate({"forecast": {}, "checker": "own.py:check"})


def test_bertscore_takes_its_encoder() -> None:
    """The last layer unless one is named."""
    task = ForecastTask(forecast=ForecastSizes(), metrics=("bertscore",), bertscore=BertScore(model="roberta-large"))

    assert task.bertscore == BertScore(model="roberta-large", layer=None)


def test_columns_of_a_kd4gen_file_cannot_be_named() -> None:
    """Its names are fixed; another one would be ignored."""
    with pytest.raises(
        ValidationError, match=r"fields names columns, but the columns of a KD4Gen file are always text and target"
    ):
        FilesTask(files=Kd4gen(kd4gen=Path("task.json")), fields=Fields(source="question"))


def test_one_format_is_that_of_all_files() -> None:
    """The name alone is short for a section that names it for each file."""
    files = {"labeled": "l.jsonl", "dev": "d.jsonl", "test": "t.jsonl"}
    task = FilesTask.model_validate({"files": files, "format": "messages"})

    assert task.format == Format(labeled="messages", unlabeled="messages", dev="messages", test="messages")
    assert FilesTask.model_validate({"files": files}).format.labeled == "auto"


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"format": "mesages"}, "unknown format 'mesages'; known: auto, columns, .*did you mean 'messages'"),
        ({"format": {"labeled": "mesages"}}, "Input should be 'auto', 'columns'"),
        ({"format": {"turns": "first"}}, "'refuse', 'last' or 'all'"),
        ({"format": "messages", "fields": {"source": "q"}}, "fields names columns, which files of format messages do"),
    ],
)
def test_formats_that_cannot_be_used_are_refused(more: dict[str, object], found: str) -> None:
    """The known names are in the message; a setting that would be ignored is refused."""
    files = {"labeled": "l.jsonl", "dev": "d.jsonl", "test": "t.jsonl"}
    with pytest.raises(ValidationError, match=found):
        FilesTask.model_validate({"files": files, **more})


def test_names_of_columns_serve_files_whose_format_is_recognised() -> None:
    """One file may be a log and another have columns; `id: null` is a setting of every format."""
    files = {"labeled": "l.jsonl", "dev": "d.jsonl", "test": "t.jsonl"}
    mixed = {"files": files, "format": {"labeled": "request_log"}, "fields": {"source": "q"}}
    assert FilesTask.model_validate(mixed).fields.source == "q"
    assert FilesTask.model_validate({"files": files, "format": "messages", "fields": {"id": None}}).fields.id is None


def test_a_kd4gen_file_has_its_own_format() -> None:
    """Another one would be ignored."""
    with pytest.raises(ValidationError, match=r"a KD4Gen file has its own; leave format out"):
        FilesTask(files=Kd4gen(kd4gen=Path("task.json")), format=Format(turns="last"))
