"""Source consistency: omissions and hallucinations, found without references.

Items are numbers, dates, codes and capitalised names (`source_items`). A good summary omits most of its source, and a
human reference may state what its source does not: read the rates next to those of the references.
Axes: N examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from understudy.evaluation.scoring import Metric, MetricContext, SystemOutputs
from understudy.evaluation.source_items import read_text
from understudy.evaluation.tally import FloatArray, ratio
from understudy.records import Prediction


@dataclass(frozen=True, slots=True)
class ItemErrors:
    """The items of one output that do not agree with its source, as they are written."""

    missing: tuple[str, ...]
    """Of the source, not in the output."""
    invented: tuple[str, ...]
    """Of the output, neither in the source nor in the prompt."""


def item_errors(prediction: Prediction, *, prompt: str = "") -> ItemErrors:
    """What an output omits and invents."""
    source, output, instructions = read_text(prediction.source), read_text(prediction.text), read_text(prompt)
    return ItemErrors(
        tuple(item.text for item in source.items if not output.states(item)),
        tuple(item.text for item in output.items if not source.states(item) and not instructions.states(item)),
    )


def missing_statistics(predictions: Sequence[Prediction]) -> FloatArray:
    """Items of the source that the output lacks, times 100, and all items of the source, (N, 2)."""
    rows = [(100 * len(item_errors(one).missing), len(read_text(one.source).items)) for one in predictions]
    return np.array(rows, dtype=np.float64)


def invented_statistics(predictions: Sequence[Prediction], *, prompt: str = "") -> FloatArray:
    """Items of the output that its source and the prompt lack, times 100, and all items of the output, (N, 2)."""
    rows = [
        (100 * len(item_errors(one, prompt=prompt).invented), len(read_text(one.text).items)) for one in predictions
    ]
    return np.array(rows, dtype=np.float64)


def _missing(outputs: SystemOutputs, _resource: object) -> FloatArray:
    return missing_statistics(outputs.predictions)


def _invented(outputs: SystemOutputs, resource: object) -> FloatArray:
    return invented_statistics(outputs.predictions, prompt=resource if isinstance(resource, str) else "")


def _prompt(context: MetricContext) -> str:
    return context.prompt


_SETTINGS = {"items": "numbers,dates,codes,names"}
SOURCE_MISSING = Metric(
    "source_missing",
    "Source items missing",
    _missing,
    ratio,
    _SETTINGS,
    higher_is_better=False,
    needs_references=False,
)
SOURCE_INVENTED = Metric(
    "source_invented",
    "Items not in the source",
    _invented,
    ratio,
    _SETTINGS,
    prepare=_prompt,
    higher_is_better=False,
    needs_references=False,
)
