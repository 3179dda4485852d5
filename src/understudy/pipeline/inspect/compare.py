"""Scores a finished run again, together with the outputs of any other system."""

from collections.abc import Mapping
from pathlib import Path

from understudy.errors import EvaluationError, unknown_name
from understudy.evaluation.bootstrap import resample_weights, score
from understudy.evaluation.metrics import SystemOutputs, can_score, result_name, tally
from understudy.evaluation.predictions import read_outputs
from understudy.pipeline.inspect.open import OpenedRun, open_run
from understudy.pipeline.metric_settings import load_metrics, metric_settings
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.predictions import SCORED_SPLITS, system_outputs
from understudy.progress import NoProgress, Progress
from understudy.records import Score
from understudy.report.facts import TEACHER

QUIET = NoProgress()


def score_split(
    folder: str | Path,
    *,
    split: str = "test",
    outputs: str | Path | None = None,
    progress: Progress = QUIET,
    allow_code: bool = False,
) -> dict[str, list[Score]]:
    """The scores of a run's systems on a split, and of another system's outputs if there are any.

    Args:
        folder: of a finished run.
        split: dev or test.
        outputs: a file as `evaluation.predictions.read_outputs` reads it; the system is named by the file.
        progress: is informed about outputs that are empty.
        allow_code: whether metrics of the user's own may be imported.

    Returns:
        System -> its scores.

    Raises:
        ConfigError: for an unknown split.
        DataError: if the file of the outputs cannot be read.
        EvaluationError: if the outputs do not fit the split, or have the name of one of the run's systems.
        StoreError: if there is no finished run, or its predictions were deleted.
    """
    if split not in SCORED_SPLITS:
        raise unknown_name("split", split, SCORED_SPLITS)
    opened = open_run(folder)
    recipe = opened.recipe
    systems = {name: system_outputs(opened.predictions(name), split) for name in opened.systems}
    if outputs:
        outputs = Path(outputs)
        if outputs.stem in systems:
            raise EvaluationError(
                f"{outputs}: the run already has a system named {outputs.stem!r}, and a file's system is named by the "
                "file; rename the file"
            )
        systems[outputs.stem] = SystemOutputs(
            read_outputs(outputs, load_split(opened.stage("examples"), split), log=progress.log)
        )
    examples = len(next(iter(systems.values())).predictions)
    weights_RN = resample_weights(examples, resamples=recipe.evaluation.resamples, seed=recipe.seed)
    names = recipe.task.metrics
    metrics = load_metrics(list(map(result_name, names)), metric_settings(recipe.task, names), allow_code=allow_code)
    scores: dict[str, list[Score]] = {}
    for name, own in systems.items():
        fields = signature_fields(opened, name, split)
        scores[name] = [
            score(tally(metric, own, resource, fields=fields), weights_RN)
            for metric, resource in metrics.values()
            if can_score(metric, own)
        ]
    return scores


def system_decoding(opened: OpenedRun, name: str) -> str | None:
    """How a system's texts were generated; unknown for outputs that the user brings."""
    if name not in opened.systems:
        return None
    settings = opened.recipe.pseudo_targets if name == TEACHER and "api_responses" in opened.stages else None
    return (settings or opened.recipe.evaluation).decoding.kind


def signature_fields(opened: OpenedRun, name: str, split: str) -> Mapping[str, str]:
    """What the signature of a score says of the data and the system, as in the report."""
    data, decoding = opened.stages["data"].name.rpartition("-")[2][:8], system_decoding(opened, name)
    return {
        "task": opened.recipe.name,
        "data": data,
        **({"decoding": decoding} if decoding else {}),
        "split": split,
    }
