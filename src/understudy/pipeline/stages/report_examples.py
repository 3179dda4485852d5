"""The examples that the report shows, and what each is shown for."""

from collections.abc import Mapping, Sequence
from random import Random

from understudy.evaluation.examples import best_and_worst
from understudy.evaluation.metrics import METRICS
from understudy.pipeline.stages.report_content import example_errors
from understudy.records import Prediction
from understudy.report.facts import TEACHER, ExampleFacts

SHOWN = 12
"""Examples of each kind, and pseudo-targets, that the report shows."""
EXAMPLE_METRIC = "chrf"
"""Ranks single predictions: a metric that is meaningful for one sentence."""
LABEL = METRICS[EXAMPLE_METRIC].label
STUDENT_AHEAD, TEACHER_AHEAD = f"student ahead by {LABEL}", f"teacher ahead by {LABEL}"
INVENTED = "student states what its source does not"
RANDOM = "random"


def shown_examples(
    predictions: Mapping[str, Sequence[Prediction]], distilled: str, *, prompt: str, seed: int
) -> list[ExampleFacts]:
    """Examples by what they show: who is ahead, items that only the student invents, and some drawn at random."""
    ahead, behind = best_and_worst(predictions, system=distilled, against=TEACHER, k=SHOWN, metric=EXAMPLE_METRIC)
    of_teacher = predictions[TEACHER]
    places = {one.id: at for at, one in enumerate(of_teacher)}
    scores = {row.id: dict(row.scores) for row in (*ahead, *behind)}
    drawn = Random(seed).sample(range(len(of_teacher)), min(SHOWN, len(of_teacher)))
    chosen = [
        *((STUDENT_AHEAD, places[row.id]) for row in ahead),
        *((TEACHER_AHEAD, places[row.id]) for row in behind),
        *((INVENTED, at) for at in _only_student_invents(predictions, distilled, prompt)[:SHOWN]),
        *((RANDOM, at) for at in sorted(drawn)),
    ]
    return [_example(predictions, at, tag, scores if tag != RANDOM else {}, prompt) for tag, at in chosen]


def _only_student_invents(predictions: Mapping[str, Sequence[Prediction]], distilled: str, prompt: str) -> list[int]:
    """The examples in which the student's output invents something and the teacher's does not."""
    pair = {name: predictions[name] for name in (distilled, TEACHER)}
    errors = [example_errors(pair, at, prompt=prompt) for at in range(len(predictions[distilled]))]
    invented = [{name for name, own in of.items() if own["invented"]} for of in errors]
    return [at for at, names in enumerate(invented) if names == {distilled}]


def _example(
    predictions: Mapping[str, Sequence[Prediction]],
    index: int,
    tag: str,
    scores: Mapping[str, dict[str, float]],
    prompt: str,
) -> ExampleFacts:
    row = predictions[TEACHER][index]
    example: ExampleFacts = {
        "id": row.id,
        "source": row.source,
        "references": list(row.references),
        "predictions": {name: own[index].text for name, own in predictions.items()},
        "tag": tag,
    }
    if row.id in scores:
        example["scores"] = scores[row.id]
    if errors := example_errors(predictions, index, prompt=prompt):
        example["item_errors"] = errors
    return example
