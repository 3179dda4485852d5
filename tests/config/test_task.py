import typing

from understudy.config.task import MetricName
from understudy.evaluation.metrics import METRICS


def test_the_metrics_of_a_recipe_are_the_metrics_there_are() -> None:
    """All that are computed from texts, and the one that is computed from logits."""
    assert set(typing.get_args(MetricName)) == {*METRICS, "nll"}
