import pytest
import torch
from tests.models.test_attention import CONFIGS, build, logits
from torch import Tensor, nn
from transformers import PreTrainedModel

from understudy.errors import ModelError
from understudy.models.attention import capture_attention
from understudy.models.recomputation import recomputed_layers


def kept_and_gradients(model: PreTrainedModel) -> tuple[int, list[Tensor]]:
    """How many numbers the forward pass keeps for the backward pass, but for weights; and the gradients."""
    kept, weights = 0, {each.data_ptr() for each in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += 0 if tensor.data_ptr() in weights else tensor.numel()
        return tensor

    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = logits(model).square().sum()
    parameters = [each for each in model.parameters() if each.requires_grad]
    return kept, [each for each in torch.autograd.grad(loss, parameters, allow_unused=True) if each is not None]


@pytest.mark.parametrize("dropout", [True, False])
@pytest.mark.parametrize("family", CONFIGS)
def test_gradients_are_the_same_with_less_kept(family: str, *, dropout: bool) -> None:
    """Bit by bit, in training mode with dropout and without; afterwards the model is as it was."""
    model = build(family).train(dropout)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    kept, expected = kept_and_gradients(model)
    with recomputed_layers(model):
        less, found = kept_and_gradients(model)

    assert less < kept / 2
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert kept_and_gradients(model)[0] == kept


def test_captured_states_keep_their_gradient() -> None:
    """Relations between states are trained through layers that are computed again."""
    model = build("bart")
    gradients = []
    for enabled in (False, True):
        with recomputed_layers(model, enabled=enabled), capture_attention(model) as captured:
            logits(model)
        loss = captured.relations["decoder.query"].square().sum() + captured.relations["encoder.hidden"].sum()
        gradients.append(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True))

    assert all(a is b or torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_a_model_without_marked_layers_is_refused() -> None:
    """The message names the setting and the class."""
    model = build("llama")
    model.model.layers = nn.ModuleList()
    with pytest.raises(ModelError, match=r"gradient_checkpointing.*LlamaForCausalLM"), recomputed_layers(model):
        pass
