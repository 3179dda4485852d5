from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests.models.test_families import UNKNOWN
from tests.models.test_families import build as build_config
from tests.models.test_prune import CONFIGS
from transformers import PreTrainedModel

from understudy.errors import ModelError
from understudy.models import layer_order as layer_order_module
from understudy.models.families import layer_counts, stacks_of
from understudy.models.forward import padded, target_logits
from understudy.models.layer_order import LayerOrder, Removal, TextBatch, forward_passes, layer_order
from understudy.models.prune import prune

FAMILY_CONFIGS = {**CONFIGS, **UNKNOWN}


def build(family: str) -> PreTrainedModel:
    """A random model of three layers on each side, without dropout."""
    whole = build_config(FAMILY_CONFIGS[family])
    kept = [0, 1, 3]
    return prune(whole, encoder_layers=kept if whole.config.is_encoder_decoder else None, decoder_layers=kept)


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
        F.cross_entropy(target_logits(model, **one), one["target_ids_BT"][one["target_mask_BT"]], reduction="none")
        .double()
        .sum()
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
    keep = {"encoder": 2, "decoder": 1} if model.config.is_encoder_decoder else {"decoder": 1}
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    order = layer_order(model, BATCHES, keep=keep)
    expected = naive(model, keep)

    assert [(one.part, one.layer) for one in order.removed] == [(one.part, one.layer) for one in expected.removed]
    assert [one.loss for one in order.removed] == pytest.approx([one.loss for one in expected.removed], abs=1e-5)
    assert order.loss == pytest.approx(expected.loss, abs=1e-5)
    assert order.kept == expected.kept
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def counting(called: Callable[..., object], calls: list[object]) -> Callable[..., object]:
    """The same function, which appends to a list whenever it is called."""

    def counted(*inputs: object, **settings: object) -> object:
        calls.append(called)
        return called(*inputs, **settings)

    return counted


@pytest.mark.parametrize(
    ("family", "keep"),
    [("llama", {"decoder": 1}), ("bart", {"decoder": 1}), ("bart", {"encoder": 2}), ("bart", {"encoder": 3})],
)
def test_layers_before_a_candidate_run_once_per_step(
    family: str, keep: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planned passes and layers are those that are computed, for one part to prune."""
    model = build(family)
    passes: list[object] = []
    runs: list[object] = []
    for stack in stacks_of(model.config).values():
        kind = type(model.get_submodule(f"{stack.layer_list}.0"))
        monkeypatch.setattr(kind, "forward", counting(kind.forward, runs))
    monkeypatch.setattr(layer_order_module, "target_logits", counting(target_logits, passes))
    counts = layer_counts(model.config)
    layer_order(model, BATCHES, keep=keep)

    assert (len(passes) / 2, len(runs) / 2) == forward_passes(counts, keep)


def test_more_layers_than_there_are_is_refused() -> None:
    """So are encoder layers of a model without an encoder."""
    with pytest.raises(ModelError, match="4 decoder layers were requested and there are 3"):
        layer_order(build("llama"), BATCHES, keep={"decoder": 4})
    with pytest.raises(ModelError, match="1 encoder layers were requested and there are 0"):
        layer_order(build("llama"), BATCHES, keep={"encoder": 1})
