"""The metric nll: the mean negative log-likelihood of the references, from statistics that `likelihood` computes."""

from collections.abc import Mapping

from understudy.errors import EvaluationError
from understudy.evaluation.scoring import Metric, SystemOutputs
from understudy.evaluation.tally import FloatArray, ratio


def _statistics(outputs: SystemOutputs, _resource: object) -> FloatArray:
    """The mean negative log-likelihood of the references in nats per token; long references weigh more."""
    if outputs.likelihood_ND is None or len(outputs.likelihood_ND) != len(outputs.predictions):
        found = 0 if outputs.likelihood_ND is None else len(outputs.likelihood_ND)
        raise EvaluationError(
            f"nll needs one log-likelihood per prediction, got {found} for {len(outputs.predictions)}; compute them "
            "for the same examples"
        )
    return outputs.likelihood_ND


def _settings(outputs: SystemOutputs, resource: object) -> Mapping[str, str]:
    return {"tokens": str(int(_statistics(outputs, resource)[:, 1].sum())), "unit": "nats/token"}


NLL = Metric(
    "nll",
    "NLL of gold",
    _statistics,
    ratio,
    _settings,
    higher_is_better=False,
    needs_texts=False,
    needs_likelihood=True,
    units=lambda statistics_ND: statistics_ND[:, 1],
)
