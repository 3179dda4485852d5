"""Any system beside a run's own: outputs that other tools wrote, scored by the run's metrics."""

from functools import partial
from pathlib import Path

from understudy.errors import EvaluationError, unknown_name
from understudy.evaluation.bootstrap import resample_weights, score
from understudy.evaluation.predictions import read_outputs
from understudy.pipeline.bought import with_references
from understudy.pipeline.data import read_data
from understudy.pipeline.measure import NLL, SCORED, can_tell, fields_of, tally_of, tally_texts
from understudy.pipeline.open import open_run
from understudy.records import Score
from understudy.report.facts import TEACHER

ANSWERS = "answers_"


def score_split(folder: Path, *, split: str, outputs: Path | None = None) -> dict[str, list[Score]]:
    """The scores of a run's systems on a split, and of another system's outputs if there are any.

    Args:
        folder: of a finished run.
        split: dev or test.
        outputs: a file as `evaluation.predictions.read_outputs` reads it; its system is named by the file.

    Raises:
        ConfigError: for an unknown split.
        EvaluationError: if the outputs do not fit the split, or are named as one of the run's systems.
        StoreError: if there is no finished run.
    """
    if split not in SCORED:
        raise unknown_name("split", split, SCORED)
    opened = open_run(folder)
    task, recipe = opened.recipe.task, opened.recipe
    data = read_data(opened.stages["data"])
    bought = opened.stages.get("bought")
    examples = getattr(with_references(recipe, data, bought) if bought else data, split)
    weights_RN = resample_weights(len(examples), resamples=recipe.evaluation.resamples, seed=recipe.seed)
    said = partial(fields_of, recipe, opened.stages["data"], split)
    names = [system["name"] for system in opened.facts["systems"]]
    # A teacher behind an endpoint answers in the stage of what was bought.
    answers = {name: opened.stages[ANSWERS + name] if name != TEACHER or not bought else bought for name in names}
    metrics = [metric for metric in task.metrics if not (outputs and metric == NLL)]  # texts alone have no likelihood
    scores = {
        name: [
            score(tally_of(stage, m, split, task, said(answers=stage)), weights_RN)
            for m in metrics
            if can_tell(stage, m, split)
        ]
        for name, stage in answers.items()
    }
    if outputs:
        if outputs.stem in scores:
            raise EvaluationError(
                f"{outputs}: the run has a system of the name {outputs.stem!r} already, and a file's system is named "
                "by the file; rename the file"
            )
        predictions = read_outputs(outputs, examples)
        scores[outputs.stem] = [score(tally_texts(m, predictions, task, said()), weights_RN) for m in metrics]
    return scores
