"""The metric BERTScore: which encoder it uses, and its entry. No idf weights, no rescaling.

`bert_encoder` computes it; torch is loaded when the first text is scored, not when the metric is looked up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from understudy.config.task import BertScore
from understudy.errors import ConfigError
from understudy.evaluation.scoring import Metric, SystemOutputs, not_prepared
from understudy.evaluation.tally import FloatArray, ratio

if TYPE_CHECKING:
    from understudy.evaluation.bert_encoder import Encoder


@dataclass(frozen=True, slots=True)
class EncoderCheckpoint:
    """Which encoder to use. The weights are loaded when the first text is scored, not while a student is trained."""

    model: str
    layer: int | None = None

    def open(self) -> "Encoder":
        """The encoder, loaded once per process."""
        from understudy.evaluation.bert_encoder import open_encoder

        return open_encoder(self.model, self.layer)


def require_encoder(section: BertScore | None) -> EncoderCheckpoint:
    """The encoder of `task.bertscore`; reads the checkpoint's config and no weights.

    Raises:
        ConfigError: if the section is missing.
        ModelError: if there is no such checkpoint.
    """
    if section is None:
        raise ConfigError(
            "metric bertscore compares texts with an encoder, and task.bertscore.model is not set; set it to a "
            "checkpoint such as roberta-large, or remove bertscore from task.metrics"
        )
    from understudy.models.checkpoint import config_of

    config_of(section.model)
    return EncoderCheckpoint(section.model, section.layer)


def _encoder(resource: object) -> "Encoder":
    if not isinstance(resource, EncoderCheckpoint):
        raise not_prepared("bertscore")
    return resource.open()


def _statistics(outputs: SystemOutputs, resource: object) -> FloatArray:
    from understudy.evaluation.bert_encoder import bertscore_statistics

    return bertscore_statistics(outputs.predictions, encoder=_encoder(resource))


def _settings(_outputs: SystemOutputs, resource: object) -> Mapping[str, str]:
    return {"f": "1", "idf": "no", "rescaled": "no", **_encoder(resource).settings}


BERTSCORE = Metric(
    "bertscore",
    "BERTScore",
    _statistics,
    ratio,
    _settings,
    prepare=lambda context: require_encoder(context.bertscore),
)
