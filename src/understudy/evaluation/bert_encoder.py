"""The encoder of BERTScore, and the statistics computed with it: tokens are matched by their contextual vectors.

Axes: N examples, D statistics, T tokens of a text, H hidden width, B texts of a batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from understudy.errors import EvaluationError, first_line
from understudy.evaluation.tally import FloatArray
from understudy.models.checkpoint import no_progress_bars
from understudy.models.forward import padded
from understudy.records import Prediction

_CHUNK = 64
"""Predictions whose texts are held as vectors together."""
_BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """The vectors of one text."""

    vectors_TH: Tensor
    """Unit length, special tokens included."""
    counted_T: Tensor
    """False at special tokens: other tokens may match them, but they do not count in precision and recall."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """Maps texts to the vectors of one hidden layer of a network."""

    name: str
    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    layer: int

    @property
    def settings(self) -> Mapping[str, str]:
        """The part of the signature that identifies the encoder."""
        return {"model": self.name, "layer": str(self.layer), "transformers": version("transformers")}

    @property
    def max_tokens(self) -> int:
        """The longest text that the network accepts."""
        own = getattr(self.network.config, "max_position_embeddings", None)
        longest = int(self.tokenizer.model_max_length)
        return min(longest, own) if own else longest

    def __call__(self, texts: Sequence[str]) -> list[Encoded]:
        """The vectors of each text.

        Raises:
            EvaluationError: if a text is longer than the network accepts: its end would be lost.
        """
        read = self.tokenizer(list(texts), return_special_tokens_mask=True, verbose=False)
        ids, special = read["input_ids"], read["special_tokens_mask"]
        if longest := [row for row in ids if len(row) > self.max_tokens]:
            raise EvaluationError(
                f"bertscore needs whole texts, and {len(longest)} of {len(ids)} have more than the {self.max_tokens} "
                f"tokens that {self.name!r} accepts (longest: {max(map(len, longest))}); choose another model in "
                "task.bertscore, or remove bertscore from task.metrics"
            )
        encoded: dict[int, Encoded] = {}
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            for index, vectors_TH in zip(batch, self._vectors([ids[index] for index in batch]), strict=True):
                encoded[index] = Encoded(vectors_TH, torch.tensor(special[index]) == 0)
        return [encoded[index] for index in range(len(ids))]

    def _vectors(self, rows: Sequence[Sequence[int]]) -> list[Tensor]:
        if not any(map(len, rows)):  # a tokenizer without special tokens, and empty texts
            return [torch.zeros(0, 1) for _ in rows]
        ids_BT, mask_BT = (each.to(self.network.device) for each in padded(rows))
        with torch.inference_mode():
            layers = self.network(
                input_ids=ids_BT, attention_mask=mask_BT.long(), output_hidden_states=True
            ).hidden_states
        vectors_BTH = F.normalize(layers[self.layer].float(), dim=-1).cpu()
        return [vectors_TH[: len(row)] for vectors_TH, row in zip(vectors_BTH, rows, strict=True)]


@lru_cache(maxsize=1)
def open_encoder(model: str, layer: int | None = None) -> Encoder:
    """An encoder from a checkpoint; cached, because every score of a run uses the same one.

    Args:
        model: a name on the hub or a local folder; of an encoder-decoder the encoder is used.
        layer: index of the hidden states, 0 for the embeddings; None for the last layer.

    Raises:
        EvaluationError: if there is no such checkpoint, or it has no such layer.
    """
    try:
        with no_progress_bars():
            tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
            network = AutoModel.from_pretrained(model, use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise EvaluationError(
            f"bertscore cannot load an encoder from {model!r}: {first_line(error)}; set task.bertscore.model to a name "
            "on the hub, or to a folder that holds config.json, model.safetensors and tokenizer.json"
        ) from error
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
    layers = int(network.config.num_hidden_layers)
    if layer is not None and not 0 <= layer <= layers:
        raise EvaluationError(
            f"task.bertscore requests layer {layer} of {model!r}, which has {layers}; set task.bertscore.layer to 0 "
            f"(the embeddings) to {layers}, or omit it for the last"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Encoder(model, network.to(device).eval(), tokenizer, layers if layer is None else layer)


def bertscore_statistics(predictions: Sequence[Prediction], *, encoder: Encoder) -> FloatArray:
    """BERTScore's F1 in percent with the best reference, and a 1 that counts the example, (N, 2).

        P = mean over tokens of the text of the highest cosine to a token of the reference
        R = the same from the reference to the text,   F1 = 2·P·R / (P + R)

    An empty text scores 0. The corpus score is the mean over examples.

    Args:
        predictions: each with at least one reference.
        encoder: gives the vectors.

    Raises:
        EvaluationError: if a text is longer than the encoder accepts.

    Source: Zhang et al. 2020, section 3 (arXiv:1904.09675).
    """
    statistics_ND = np.ones((len(predictions), 2))
    for start in range(0, len(predictions), _CHUNK):
        chosen = predictions[start : start + _CHUNK]
        texts = list(dict.fromkeys(text for own in chosen for text in (own.text, *own.references)))
        encoded = dict(zip(texts, encoder(texts), strict=True))
        for row_D, own in zip(statistics_ND[start:], chosen, strict=False):
            row_D[0] = 100 * max(_f1(encoded[own.text], encoded[reference]) for reference in own.references)
    return statistics_ND


def _f1(text: Encoded, reference: Encoded) -> float:
    if not (text.counted_T.any() and reference.counted_T.any()):
        return 0.0
    cosines_TT = text.vectors_TH @ reference.vectors_TH.T
    precision = float(cosines_TT.amax(dim=1)[text.counted_T].mean())
    recall = float(cosines_TT.amax(dim=0)[reference.counted_T].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
