"""The tally of some predictions under a metric by its name, for the tests of metrics."""

from collections.abc import Mapping, Sequence

from understudy.evaluation.metrics import METRICS, SystemOutputs, tally
from understudy.evaluation.tally import Tally
from understudy.records import Prediction


def tallied(
    name: str, predictions: Sequence[Prediction], resource: object = None, *, fields: Mapping[str, str] | None = None
) -> Tally:
    """The table's metric of this name."""
    return tally(METRICS[name], SystemOutputs(predictions), resource, fields=fields or {})
