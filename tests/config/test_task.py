from pathlib import Path

import pytest
from pydantic import ValidationError

from understudy.config.task import BertScore, Fields, FilesTask, ForecastSizes, ForecastTask, Kd4gen, Splits, Task
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
