import math
from functools import partial

import pytest
import torch
from torch import Tensor
from transformers import BartConfig, BartForConditionalGeneration

from understudy.errors import EvaluationError
from understudy.evaluation.bootstrap import resample_weights, score
from understudy.evaluation.likelihood import likelihood_statistics
from understudy.evaluation.metrics import METRICS, SystemOutputs, tally
from understudy.models.forward import target_logits
from understudy.records import Prediction

VOCABULARY = 7


def table_logits(
    *,
    source_ids_SL: Tensor,
    source_mask_SL: Tensor,
    source_of_B: Tensor,
    target_ids_BT: Tensor,
    target_mask_BT: Tensor,
) -> Tensor:
    """A model that looks at the length and sum of the source and at the position."""
    reads_S = (source_ids_SL * source_mask_SL).sum(dim=1) + source_mask_SL.sum(dim=1)
    row_N, position_N = target_mask_BT.nonzero(as_tuple=True)
    return logits_of(reads_S[source_of_B][row_N, None], position_N[:, None])


def logits_of(reads: Tensor, position: Tensor) -> Tensor:
    """Some distribution that depends on both."""
    return torch.sin(1.0 + reads * torch.arange(VOCABULARY) + 3 * position)


def slow_nll(source: list[int], target: list[int]) -> float:
    """The nats of one target, token by token, without batches."""
    reads = torch.tensor(sum(source) + len(source))
    return -sum(
        math.log(torch.softmax(logits_of(reads, torch.tensor(position)).double(), dim=-1)[token])
        for position, token in enumerate(target)
    )


IDS = ("a", "b", "c", "d", "e")
SOURCES = [[5, 1], [2], [3, 3, 3], [1, 1, 2, 4], [6]]
TARGETS = [[1, 2, 3], [4], [0, 0, 6, 5], [2, 1], [3, 0]]


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_rows_are_those_of_a_loop_over_tokens(batch_size: int) -> None:
    """Neither sorting nor padding nor the batch size changes an example's nats."""
    statistics_ND = likelihood_statistics(
        table_logits, ids=IDS, sources=SOURCES, targets=TARGETS, batch_size=batch_size
    )

    assert statistics_ND[:, 0] == pytest.approx([slow_nll(*pair) for pair in zip(SOURCES, TARGETS, strict=True)])
    assert statistics_ND[:, 1].tolist() == [3, 1, 4, 2, 2]


def test_the_value_is_nats_per_token() -> None:
    """Long targets weigh more; the score has an interval and lower is better."""
    statistics_ND = likelihood_statistics(table_logits, ids=IDS, sources=SOURCES, targets=TARGETS)
    predictions = [Prediction(name, "", ("gold", "gold too"), "") for name in IDS]
    tallied = tally(METRICS["nll"], SystemOutputs(predictions, statistics_ND), fields={"split": "test"})
    result = score(tallied, resample_weights(5, seed=0))
    nats = sum(slow_nll(*pair) for pair in zip(SOURCES, TARGETS, strict=True))

    assert result.value == pytest.approx(nats / 12)
    assert result.low < result.value < result.high
    assert not result.higher_is_better
    assert result.signature.startswith("nll|split:test|n:5|refs:2|tokens:12|unit:nats/token|understudy:")


def test_an_indifferent_model_needs_the_logarithm_of_its_vocabulary() -> None:
    """Equal logits for V tokens cost log V nats per token."""

    def indifferent(*, target_mask_BT: Tensor, **_: Tensor) -> Tensor:
        return torch.zeros(int(target_mask_BT.sum()), VOCABULARY, dtype=torch.bfloat16)

    nats, tokens = likelihood_statistics(indifferent, ids=IDS, sources=SOURCES, targets=TARGETS).sum(axis=0)

    assert nats / tokens == pytest.approx(math.log(VOCABULARY))


def test_a_network_is_scored_as_its_own_loss_scores_it() -> None:
    """The loss transformers computes from labels, one example at a time, gives the same nats."""
    torch.manual_seed(0)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    network = BartForConditionalGeneration(BartConfig(vocab_size=VOCABULARY, d_model=8, pad_token_id=1, **sizes)).eval()
    statistics_ND = likelihood_statistics(partial(target_logits, network), ids=IDS, sources=SOURCES, targets=TARGETS)
    with torch.inference_mode():
        expected = [
            float(network(input_ids=torch.tensor([source]), labels=torch.tensor([target])).loss)
            for source, target in zip(SOURCES, TARGETS, strict=True)
        ]

    assert statistics_ND[:, 0] / statistics_ND[:, 1] == pytest.approx(expected, rel=1e-5)


def test_an_empty_target_is_refused() -> None:
    """The message names the first and the way out."""
    with pytest.raises(EvaluationError, match=r"1 of 2 targets have none \(first: 'b'\); end targets with"):
        likelihood_statistics(table_logits, ids=["a", "b"], sources=[[1], [2]], targets=[[1], []])


@pytest.mark.parametrize(("ids", "found"), [([], "got 0, 0 and 0"), (["a", "b"], "got 2, 0 and 0")])
def test_lists_that_do_not_match_are_refused(ids: list[str], found: str) -> None:
    """Each example has an id, a source and a target."""
    with pytest.raises(EvaluationError, match=found):
        likelihood_statistics(table_logits, ids=ids, sources=[], targets=[])
