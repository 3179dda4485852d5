import typing
from pathlib import Path

import pytest
from pydantic import ValidationError

from understudy.config.task import BertScore, Fields, FilesTask, Forecast, ForecastTask, Kd4gen, MetricName
from understudy.evaluation.metrics import METRICS


def test_the_metrics_of_a_recipe_are_the_metrics_there_are() -> None:
    """All that are computed from texts, and the one that is computed from logits."""
    assert set(typing.get_args(MetricName)) == {*METRICS, "nll"}


def test_bertscore_asks_for_its_encoder() -> None:
    """Refused with the whole recipe, before anything is loaded."""
    with pytest.raises(ValidationError, match=r"bertscore\.model is not set; set it to a checkpoint"):
        ForecastTask(forecast=Forecast(), metrics=("bleu", "bertscore"))


def test_bertscore_takes_its_encoder() -> None:
    """The last layer unless one is named."""
    task = ForecastTask(forecast=Forecast(), metrics=("bertscore",), bertscore=BertScore(model="roberta-large"))

    assert task.bertscore == BertScore(model="roberta-large", layer=None)


def test_columns_of_a_kd4gen_file_cannot_be_named() -> None:
    """It has names of its own; another one would be ignored."""
    with pytest.raises(ValidationError, match=r"fields names columns, but a KD4Gen file has names of its own"):
        FilesTask(files=Kd4gen(kd4gen=Path("task.json")), fields=Fields(source="question"))
