import copy

import pytest
import torch
import transformers as tf
from tests.models.test_attention import CONFIGS, DECODER, GROUPED, OPT, SMALL, SOURCE_OF, SOURCES, TARGETS, H, V, hooks
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from understudy.errors import ModelError
from understudy.models.forward import target_logits
from understudy.models.projection import projection, projects_in_parts

ALL: dict[str, PretrainedConfig] = {
    **CONFIGS,
    "gemma2 with a soft cap": tf.Gemma2Config(**SMALL, **GROUPED, final_logit_softcapping=2.0),
    "granite": tf.GraniteConfig(**SMALL, **DECODER, logits_scaling=3.0),
    "cohere": tf.CohereConfig(**SMALL, **DECODER, logit_scale=0.3),
    "olmo2": tf.Olmo2Config(**SMALL, **DECODER),
    "gptj": tf.GPTJConfig(**SMALL, n_embd=H, n_layer=2, n_head=2, n_positions=16, rotary_dim=4),
    "bloom": tf.BloomConfig(**SMALL, hidden_size=H, n_layer=2, n_head=2),
    "opt with narrow embeddings": tf.OPTConfig(**SMALL, **{**OPT, "word_embed_proj_dim": 4}),
}
EVERY_MODEL = pytest.mark.parametrize("family", ALL)
INPUTS = {
    "source_ids_SL": SOURCES,
    "source_mask_SL": SOURCES != 0,
    "source_of_B": SOURCE_OF,
    "target_ids_BT": TARGETS,
    "target_mask_BT": TARGETS != 0,
}


def build(family: str) -> PreTrainedModel:
    """A random model in training mode, with a bias on its logits where the family has one."""
    torch.manual_seed(0)
    config = copy.deepcopy(ALL[family])
    auto = tf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else tf.AutoModelForCausalLM
    model = auto.from_config(config)
    if hasattr(model, "final_logits_bias"):
        nn.init.normal_(model.final_logits_bias)
    return model.train()


@EVERY_MODEL
def test_parts_of_the_positions_have_the_logits_of_the_model(family: str) -> None:
    """Biases, scales and soft caps are those of the model's own code."""
    model = build(family).eval()
    expected_NV = target_logits(model, **INPUTS)
    found = projection(model, **INPUTS)

    assert projects_in_parts(model)
    assert torch.equal(found.logits(slice(None)), expected_NV)
    parts = [found.logits(slice(at, at + 3)) for at in range(0, len(expected_NV), 3)]
    torch.testing.assert_close(torch.cat(parts), expected_NV)


@pytest.mark.parametrize("family", ["bart", "t5gemma", "granite"])
def test_the_computed_types_are_those_of_the_model(family: str) -> None:
    """Under autocast, and with weights in half precision."""
    model = build(family)
    with torch.autocast("cpu", torch.bfloat16):
        assert projects_in_parts(model)
        assert projection(model, **INPUTS).dtype == torch.bfloat16
    assert projects_in_parts(model.bfloat16())
    assert projection(model, **INPUTS).logits(slice(2)).dtype == target_logits(model, **INPUTS).dtype


def test_the_network_is_run_once_and_nothing_is_projected() -> None:
    """Hidden states keep their gradient, and the model has no further hooks."""
    model, before = build("t5"), hooks(build("t5"))
    layers, rows = list[int](), list[int]()
    model.decoder.block[0].register_forward_hook(lambda *_call: layers.append(1))
    model.lm_head.register_forward_hook(lambda *call: rows.append(len(call[2])))
    found = projection(model, **INPUTS)

    assert (layers, rows) == ([1], [0])
    assert found.hidden_NH.shape == (int((TARGETS != 0).sum()), H)
    assert found.hidden_NH.requires_grad
    assert hooks(model) == before + 2


def test_a_search_for_parts_changes_nothing() -> None:
    """Mode, random state and weights stay, also where dropout is active."""
    model = build("bart")
    weights, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()

    assert projects_in_parts(model)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


class Changed(tf.LlamaForCausalLM):  # type: ignore[misc]
    """A Llama whose own code does something more to its logits."""

    def change(self, logits: Tensor) -> Tensor:
        """What it does."""
        raise NotImplementedError

    def forward(self, *args: object, **kwargs: object) -> CausalLMOutputWithPast:
        """The output with changed logits."""
        output = super().forward(*args, **kwargs)
        output.logits = self.change(output.logits)
        return output


class Sorted(Changed):
    """It sorts them."""

    def change(self, logits: Tensor) -> Tensor:
        """From the smallest on."""
        return logits.sort(dim=-1).values


class Masked(Changed):
    """It changes some of them in place."""

    def change(self, logits: Tensor) -> Tensor:
        """The first token is impossible."""
        logits[..., 0] = -9.0
        return logits


class Gated(Changed):
    """It needs the logits twice."""

    def change(self, logits: Tensor) -> Tensor:
        """Their square."""
        return logits * logits


class Scaled(Changed):
    """It has a scale that is trained."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        self.scale = nn.Parameter(torch.ones(V))

    def change(self, logits: Tensor) -> Tensor:
        """Times the scale."""
        return logits * self.scale


class Biased(Changed):
    """It has a head of another kind."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        self.lm_head: nn.Module = nn.Sequential(nn.Linear(H, V))

    def change(self, logits: Tensor) -> Tensor:
        """Nothing."""
        return logits


@pytest.mark.parametrize("kind", [Sorted, Masked, Gated, Scaled, Biased])
def test_other_models_are_projected_as_a_whole(kind: type[PreTrainedModel]) -> None:
    """Where it is not certain that a part has the same logits; the message names the class and the remedy."""
    model = kind(tf.LlamaConfig(**SMALL, **DECODER))

    assert not projects_in_parts(model)
    with pytest.raises(ModelError, match=rf"{kind.__name__}.*target_logits"):
        projection(model, **INPUTS)
