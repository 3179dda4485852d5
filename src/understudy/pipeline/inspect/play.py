"""What `understudy play` shows of a finished run: its student, its teacher and the test set."""

from pathlib import Path

from understudy.evaluation.predictions import read_predictions
from understudy.pipeline.context import default_device
from understudy.pipeline.delivery import STUDENT
from understudy.pipeline.inspect.deploy import confidence_of, deployment_of
from understudy.pipeline.inspect.open import open_run
from understudy.records import Example
from understudy.report.facts import TEACHER
from understudy.serving.play_facts import PlaySettings


def play_settings(folder: str | Path) -> PlaySettings:
    """The settings of a page on which a run's student and teacher answer.

    A teacher behind an API is asked nothing: the texts that it gave for the test set are shown.

    Raises:
        StoreError: if there is no finished run, or a network of it was deleted or is damaged.
    """
    run = open_run(folder)
    behind_api = "api_responses" in run.stages
    deployments = {STUDENT: deployment_of(run, STUDENT)}
    recorded = None
    tests = read_predictions(run.predictions(deployments[STUDENT].system) / "test.jsonl")
    if behind_api:
        texts = {one.id: one.text for one in read_predictions(run.predictions(TEACHER) / "test.jsonl")}
        recorded = [texts[one.id] for one in tests]
    else:
        deployments[TEACHER] = deployment_of(run, TEACHER)
    return PlaySettings(
        run=run.recipe.name,
        deployments=deployments,
        inputs=[Example(one.id, one.source, one.references) for one in tests],
        recorded=recorded,
        prompt=run.recipe.task.prompt,
        confidence=confidence_of(folder),
        device=default_device(),
    )
