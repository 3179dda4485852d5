"""BERTScore: words matched by what an encoder makes of them in their context. No idf weights, no rescaling.

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
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from understudy.errors import EvaluationError, first_line
from understudy.evaluation.tally import FloatArray
from understudy.models.checkpoint import no_progress_bars
from understudy.records import Prediction

_AT_ONCE = 64
"""Predictions whose texts are held as vectors together."""
_BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A text as an encoder reads it."""

    vectors_TH: Tensor
    """Of length 1, special tokens included."""
    counted_T: Tensor
    """False at special tokens: they can be matched, but nobody asks whether they are."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """Texts to vectors, by one hidden layer of a network."""

    name: str
    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    layer: int

    @property
    def settings(self) -> Mapping[str, str]:
        """What a signature says of it."""
        return {"model": self.name, "layer": str(self.layer), "transformers": version("transformers")}

    @property
    def most_tokens(self) -> int:
        """The longest text it reads."""
        own = getattr(self.network.config, "max_position_embeddings", None)
        longest = int(self.tokenizer.model_max_length)
        return min(longest, own) if own else longest

    def __call__(self, texts: Sequence[str]) -> list[Encoded]:
        """Each text's vectors.

        Raises:
            EvaluationError: if a text is longer than the network reads: its end would be lost.
        """
        read = self.tokenizer(list(texts), return_special_tokens_mask=True, verbose=False)
        ids, special = read["input_ids"], read["special_tokens_mask"]
        if longest := [row for row in ids if len(row) > self.most_tokens]:
            raise EvaluationError(
                f"bertscore reads whole texts, and {len(longest)} of {len(ids)} have more than the {self.most_tokens} "
                f"tokens {self.name!r} reads (longest: {max(map(len, longest))}); choose another model in "
                "task.bertscore, or leave the metric out"
            )
        encoded: list[Encoded] = [Encoded(torch.empty(0), torch.empty(0))] * len(ids)
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            for index, vectors_TH in zip(batch, self._vectors([ids[index] for index in batch]), strict=True):
                encoded[index] = Encoded(vectors_TH, torch.tensor(special[index]) == 0)
        return encoded

    def _vectors(self, ids: Sequence[Sequence[int]]) -> list[Tensor]:
        rows = [torch.tensor(row, dtype=torch.long) for row in ids]
        if not any(map(len, rows)):  # a tokenizer without special tokens, and empty texts
            return [torch.zeros(0, 1) for _ in rows]
        ids_BT = pad_sequence(rows, batch_first=True).to(self.network.device)
        mask_BT = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).to(self.network.device)
        with torch.inference_mode():
            layers = self.network(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=True).hidden_states
        vectors_BTH = F.normalize(layers[self.layer].float(), dim=-1).cpu()
        return [vectors_TH[: len(row)] for vectors_TH, row in zip(vectors_BTH, rows, strict=True)]


@lru_cache(maxsize=1)
def open_encoder(model: str, layer: int | None = None) -> Encoder:
    """An encoder from a checkpoint; kept, because every score of a run asks for the same.

    Args:
        model: a name on the hub or a local folder; of an encoder-decoder the encoder is taken.
        layer: which hidden states, 0 being the embeddings; None: the last.

    Raises:
        EvaluationError: if there is no such checkpoint, or it has no such layer.
    """
    try:
        with no_progress_bars():
            tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
            network = AutoModel.from_pretrained(model, use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise EvaluationError(
            f"bertscore cannot load an encoder from {model!r}: {first_line(error)}; give task.bertscore.model a name "
            "on the hub, or a folder that holds config.json, model.safetensors and tokenizer.json"
        ) from error
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
    layers = int(network.config.num_hidden_layers)
    if layer is not None and not 0 <= layer <= layers:
        raise EvaluationError(
            f"bertscore was asked for layer {layer} of {model!r}, which has {layers}; set task.bertscore.layer to 0 "
            f"(the embeddings) to {layers}, or leave it out for the last"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Encoder(model, network.to(device).eval(), tokenizer, layers if layer is None else layer)


def bertscore_rows(predictions: Sequence[Prediction], *, encoder: Encoder) -> FloatArray:
    """BERTScore's F1 in percent with the best reference, and a one to count the example, (N, 2).

        P = mean over tokens of the text of the highest cosine to a token of the reference
        R = the same from the reference to the text,   F1 = 2·P·R / (P + R)

    An empty text scores 0. The corpus score is the mean over examples.

    Args:
        predictions: each with at least one reference.
        encoder: makes the vectors.

    Raises:
        EvaluationError: if a text is longer than the encoder reads.

    Source: Zhang et al. 2020, section 3 (arXiv:1904.09675).
    """
    rows_ND = np.ones((len(predictions), 2))
    for start in range(0, len(predictions), _AT_ONCE):
        chosen = predictions[start : start + _AT_ONCE]
        texts = list(dict.fromkeys(text for own in chosen for text in (own.text, *own.references)))
        encoded = dict(zip(texts, encoder(texts), strict=True))
        for row_D, own in zip(rows_ND[start:], chosen, strict=False):
            row_D[0] = 100 * max(_f1(encoded[own.text], encoded[reference]) for reference in own.references)
    return rows_ND


def _f1(text: Encoded, reference: Encoded) -> float:
    if not (text.counted_T.any() and reference.counted_T.any()):
        return 0.0
    cosines_TT = text.vectors_TH @ reference.vectors_TH.T
    precision = float(cosines_TT.amax(dim=1)[text.counted_T].mean())
    recall = float(cosines_TT.amax(dim=0)[reference.counted_T].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
