"""The confidence of a run's student: what is recorded of it, what it becomes in the report, and who reads it."""

import json
from pathlib import Path

import pytest

from understudy.evaluation.predictions import read_predictions
from understudy.pipeline.inspect.deploy import deployment
from understudy.pipeline.inspect.open import open_run
from understudy.pipeline.run import Run
from understudy.pipeline.stages.confidences import read_confidences
from understudy.serving.deployment import open_deployment


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_recorded_confidence_is_that_of_an_answer(finished: Run, split: str) -> None:
    """For each evaluated source, what the deployed student answers has the same text, confidence and length."""
    opened = open_run(finished.folder)
    predictions = read_predictions(opened.predictions(opened.facts["method"]) / f"{split}.jsonl")
    recorded = read_confidences(opened.stage("confidences"), split)

    with open_deployment(deployment(finished.folder), device="cpu", threads=1) as answering:
        answers = answering.answers([one.source for one in predictions])

    assert [one.id for one in recorded] == [one.id for one in predictions]
    assert [one.text for one in answers] == [one.text for one in predictions]
    assert [one.confidence for one in recorded] == pytest.approx([one.confidence for one in answers], rel=1e-6)
    assert [one.tokens for one in recorded] == [one.tokens for one in answers]
