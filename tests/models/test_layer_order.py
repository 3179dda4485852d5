import pytest
import torch
import torch.nn.functional as F
from tests.models.test_families import UNKNOWN
from tests.models.test_families import build as build_config
from tests.models.test_prune import CONFIGS
from transformers import PreTrainedModel

from understudy.models.families import layer_counts
from understudy.models.forward import padded, target_logits
from understudy.models.layer_order import LayerOrder, Removal, TextBatch, layer_order
from understudy.models.prune import prune

FAMILY_CONFIGS = {**CONFIGS, **UNKNOWN}


def build(family: str) -> PreTrainedModel:
    """A random model without dropout."""
    return build_config(FAMILY_CONFIGS[family])


def batch(sources: list[list[int]], targets: list[list[int]]) -> TextBatch:
    """The tensors of some texts, one target per source."""
    source_ids_SL, source_mask_SL = padded(sources)
    target_ids_BT, target_mask_BT = padded(targets)
    return {
        "source_ids_SL": source_ids_SL,
        "source_mask_SL": source_mask_SL,
        "source_of_B": torch.arange(len(sources)),
        "target_ids_BT": target_ids_BT,
        "target_mask_BT": target_mask_BT,
    }


BATCHES = [batch([[3, 4, 5], [6, 7]], [[8, 9, 2], [4, 2]]), batch([[9, 3]], [[5, 6, 7, 2]])]


def loss_of(model: PreTrainedModel) -> float:
    """The mean over the tokens of all batches, of a model that is built like any other."""
    nats = [
        F.cross_entropy(target_logits(model, **one), one["target_ids_BT"][one["target_mask_BT"]], reduction="sum")
        for one in BATCHES
    ]
    return sum(one.item() for one in nats) / 9


def naive(model: PreTrainedModel, keep: dict[str, int]) -> LayerOrder:
    """The same by pruning the model for every candidate."""
    kept = {part: list(range(count)) for part, count in layer_counts(model.config).items()}
    removed = []
    while left := [part for part in kept if len(kept[part]) > keep.get(part, 99)]:
        found = []
        for part in left:
            for layer in kept[part]:
                own = {**kept, part: [one for one in kept[part] if one != layer]}
                pruned = prune(model, encoder_layers=own.get("encoder"), decoder_layers=own["decoder"])
                found.append(Removal(part, layer, loss_of(pruned)))
        best = min(found, key=lambda one: one.loss)
        removed.append(best)
        kept[best.part].remove(best.layer)
    return LayerOrder(loss_of(model), tuple(removed), {part: tuple(kept[part]) for part in keep})


@pytest.mark.parametrize("family", FAMILY_CONFIGS)
def test_removes_the_layer_whose_absence_costs_least(family: str) -> None:
    """Losses and layers are those of pruning the model for every candidate, encoder and decoder."""
    model = build(family)
    keep = {"encoder": 3, "decoder": 2} if model.config.is_encoder_decoder else {"decoder": 2}
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    order = layer_order(model, BATCHES, keep=keep)
    expected = naive(model, keep)

    assert [(one.part, one.layer) for one in order.removed] == [(one.part, one.layer) for one in expected.removed]
    assert [one.loss for one in order.removed] == pytest.approx([one.loss for one in expected.removed], abs=1e-6)
    assert order.loss == pytest.approx(expected.loss, abs=1e-6)
    assert order.kept == expected.kept
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
