import copy

import pytest
import torch
import transformers as tf
from torch import Tensor, nn
from transformers import PreTrainedModel

from understudy.errors import ModelError
from understudy.models.attention import attention_heads, capture_attention
from understudy.models.families import FAMILIES
from understudy.models.forward import target_logits

H, HEADS, V = 8, 2, 11
SMALL = {"vocab_size": V, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BART = {
    "d_model": H, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": HEADS, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 16,
    "init_std": 0.3, "decoder_start_token_id": 1, "forced_eos_token_id": None,
}  # fmt: skip
T5 = {"d_model": H, "d_kv": 4, "d_ff": 8, "num_layers": 2, "num_heads": HEADS, "decoder_start_token_id": 0}
DECODER = {
    "hidden_size": H, "num_hidden_layers": 2, "num_attention_heads": HEADS, "max_position_embeddings": 16,
    "initializer_range": 0.3, "intermediate_size": 8,
}  # fmt: skip
OPT = {
    "hidden_size": H, "num_hidden_layers": 2, "num_attention_heads": HEADS, "max_position_embeddings": 16,
    "ffn_dim": 8, "word_embed_proj_dim": H, "init_std": 0.3,
}  # fmt: skip
GPT2 = {"n_embd": H, "n_layer": 2, "n_head": HEADS, "n_positions": 16, "initializer_range": 0.3}
GROUPED = {**DECODER, "num_key_value_heads": 1, "head_dim": 4}
ONE_GROUP = ("mistral", "qwen2", "qwen3", "smollm3", "phi3", "gemma", "gemma2", "gemma3_text")
T5_GEMMA = {
    **SMALL, **DECODER, "num_key_value_heads": HEADS, "head_dim": 4, "query_pre_attn_scalar": 4,
    "attn_logit_softcapping": None,
}  # fmt: skip

CONFIGS = {
    "bart": tf.BartConfig(**SMALL, **BART),
    "mbart": tf.MBartConfig(**SMALL, **BART),
    "pegasus": tf.PegasusConfig(**SMALL, **BART),
    "marian": tf.MarianConfig(**SMALL, **BART, decoder_vocab_size=V),
    "t5": tf.T5Config(**SMALL, **T5),
    "mt5": tf.MT5Config(**SMALL, **T5),
    "gpt2": tf.GPT2Config(**SMALL, **GPT2),
    "opt": tf.OPTConfig(**SMALL, **OPT),
    "llama": tf.LlamaConfig(**SMALL, **DECODER),
    "mistral": tf.MistralConfig(**SMALL, **GROUPED),
    "qwen2": tf.Qwen2Config(**SMALL, **DECODER, num_key_value_heads=1),
    "qwen3": tf.Qwen3Config(**SMALL, **GROUPED),
    "smollm3": tf.SmolLM3Config(**SMALL, **DECODER, num_key_value_heads=1),
    "phi3": tf.Phi3Config(**SMALL, **DECODER, num_key_value_heads=1),
    "gemma": tf.GemmaConfig(**SMALL, **GROUPED),
    "gemma2": tf.Gemma2Config(**SMALL, **GROUPED),
    "gemma3_text": tf.Gemma3TextConfig(**SMALL, **GROUPED),
    "m2m_100": tf.M2M100Config(**SMALL, **BART),
    "t5gemma": tf.T5GemmaConfig(encoder=T5_GEMMA, decoder=T5_GEMMA, decoder_start_token_id=1, **SMALL),
}
ROLES = ("query", "key", "value")
EVERY_FAMILY = pytest.mark.parametrize("family", CONFIGS)
SOURCES = torch.tensor([[3, 4, 5, 2], [6, 7, 2, 0]])
TARGETS = torch.tensor([[4, 2, 0], [5, 6, 2], [8, 9, 2]])
SOURCE_OF = torch.tensor([1, 0, 1])


def build(family: str) -> PreTrainedModel:
    """A random model of two layers on each side, without dropout."""
    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS[family])
    auto = tf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else tf.AutoModelForCausalLM
    return auto.from_config(config).eval()


def logits(model: PreTrainedModel) -> Tensor:
    """Logits at every position of three targets of two sources."""
    return target_logits(
        model,
        source_ids_SL=SOURCES,
        source_mask_SL=SOURCES != 0,
        source_of_B=SOURCE_OF,
        target_ids_BT=TARGETS,
        target_mask_BT=TARGETS != 0,
    )


def hooks(model: nn.Module) -> int:
    """How many hooks the model has."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def projected(family: str, attention: nn.Module, query_in: Tensor, key_in: Tensor) -> tuple[Tensor, ...]:
    """Query, key and value by the attention's own weights."""
    if family == "gpt2":
        weight, bias = attention.get_parameter("c_attn.weight"), attention.get_parameter("c_attn.bias")
        return tuple(query_in @ weight[:, at : at + H] + bias[at : at + H] for at in (0, H, 2 * H))
    if family == "phi3":
        both = attention.get_submodule("qkv_proj")(query_in)
        return both[..., :H], both[..., H : H + 4], both[..., H + 4 :]
    names = ("q", "k", "v") if family in {"t5", "mt5"} else ("q_proj", "k_proj", "v_proj")
    modules = [attention.get_submodule(name) for name in names]
    return tuple(module(states) for module, states in zip(modules, (query_in, key_in, key_in), strict=True))


def norm_before(layer: nn.Module) -> nn.Module:
    """The norm of a layer's self-attention."""
    names = ("self_attn_layer_norm", "input_layernorm", "pre_self_attn_layernorm")
    return next(layer.get_submodule(name) for name in names if hasattr(layer, name))


def expected_decoder(family: str, model: PreTrainedModel, layer_input: Tensor) -> tuple[Tensor, ...]:
    """Query, key and value of the decoder's last self-attention, from the input of its layer."""
    last = model.get_submodule(FAMILIES[family].stacks["decoder"].layer_list)[-1]
    if family in {"t5", "mt5"}:
        attention, norm = last.layer[0].SelfAttention, last.layer[0].layer_norm
    elif family == "gpt2":
        attention, norm = last.attn, last.ln_1
    else:
        attention, norm = last.self_attn, norm_before(last)
    # BART and Marian normalise after the attention, all others before it.
    states = layer_input if family in {"bart", "marian"} else norm(layer_input)
    return projected(family, attention, states, states)


def assert_captured(relations: dict[str, Tensor], prefix: str, expected: tuple[Tensor, ...]) -> None:
    """All three of an attention are as expected."""
    for role, states in zip(ROLES, expected, strict=True):
        torch.testing.assert_close(relations[f"{prefix}.{role}"], states)


@EVERY_FAMILY
def test_captures_the_decoders_last_self_attention(family: str) -> None:
    """The weights and the hidden states that the model reports give the same states."""
    model = build(family)
    ids = torch.tensor([[3, 4, 5, 6], [7, 8, 9, 2]])
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with capture_attention(model) as captured:
        output = model(input_ids=ids, use_cache=False, output_hidden_states=True, **more)
    states = output.decoder_hidden_states if more else output.hidden_states

    assert_captured(captured.relations, "decoder", expected_decoder(family, model, states[-2]))
    torch.testing.assert_close(captured.relations["decoder.hidden"], states[-1])


@pytest.mark.parametrize("family", [family for family in CONFIGS if CONFIGS[family].is_encoder_decoder])
def test_captures_encoder_and_cross_attention(family: str) -> None:
    """Cross keys come from the encoder's last states, its queries from elsewhere; the encoder's from its layer."""
    model = build(family)
    more = {"decoder_input_ids": TARGETS[:2], "use_cache": False}
    with capture_attention(model) as captured:
        output = model(input_ids=SOURCES, output_hidden_states=True, **more)
    is_t5 = family in {"t5", "mt5"}
    encoder = model.get_submodule(FAMILIES[family].stacks["encoder"].layer_list)[-1]
    decoder = model.get_submodule(FAMILIES[family].stacks["decoder"].layer_list)[-1]
    own = encoder.layer[0].SelfAttention if is_t5 else encoder.self_attn
    norm = encoder.layer[0].layer_norm if is_t5 else norm_before(encoder)
    states = output.encoder_hidden_states[-2]
    states = states if family in {"bart", "marian"} else norm(states)
    cross = decoder.get_submodule(FAMILIES[family].stacks["decoder"].attentions["cross"])
    last = output.encoder_last_hidden_state

    assert_captured(captured.relations, "encoder", projected(family, own, states, states))
    torch.testing.assert_close(captured.relations["encoder.hidden"], last)
    _query, key, value = projected(family, cross, last, last)
    torch.testing.assert_close(captured.relations["cross.key"], key)
    torch.testing.assert_close(captured.relations["cross.value"], value)


@pytest.mark.parametrize("family", [family for family in CONFIGS if CONFIGS[family].is_encoder_decoder])
def test_cross_queries_are_what_attends(family: str) -> None:
    """Scores of cross queries and keys give the cross-attention weights that the model reports."""
    model = build(family)
    model.set_attn_implementation("eager")
    with capture_attention(model) as captured:
        output = model(input_ids=SOURCES[:1], decoder_input_ids=TARGETS[1:2], use_cache=False, output_attentions=True)
    query, key = (torch.stack(captured.relations[f"cross.{role}"].chunk(HEADS, dim=-1), dim=1) for role in ROLES[:2])
    scale = 1.0 if family in {"t5", "mt5"} else query.shape[-1] ** -0.5

    torch.testing.assert_close((query @ key.mT * scale).softmax(dim=-1), output.cross_attentions[-1])


@EVERY_FAMILY
def test_works_within_target_logits(family: str) -> None:
    """Encoder rows are sources, decoder and cross rows are targets; capturing changes no logit and leaves no hook."""
    model = build(family)
    without, before = logits(model), hooks(model)
    with capture_attention(model) as captured:
        within = logits(model)
    shapes = {key: tuple(states.shape) for key, states in captured.relations.items()}

    assert torch.equal(within, without)
    assert hooks(model) == before
    width = 4 if family in ONE_GROUP else H  # one group of two heads
    rows = {"decoder": (3, 3)} if model.config.is_encoder_decoder else {"decoder": (3, 6)}
    rows |= {"encoder": (2, 4)} if model.config.is_encoder_decoder else {}
    expected = {f"{part}.hidden": (*size, H) for part, size in rows.items()}
    for part, size in rows.items():
        expected |= {f"{part}.query": (*size, H), f"{part}.key": (*size, width), f"{part}.value": (*size, width)}
    if model.config.is_encoder_decoder:
        expected |= {"cross.query": (3, 3, H), "cross.key": (3, 4, H), "cross.value": (3, 4, H)}
    assert shapes == expected


@EVERY_FAMILY
def test_gradient_flows_into_the_model(family: str) -> None:
    """Everything captured is part of the graph down to the embeddings."""
    model = build(family)
    with capture_attention(model) as captured:
        logits(model)
    embeddings = model.get_input_embeddings().weight
    for key, states in captured.relations.items():
        (gradient,) = torch.autograd.grad(states.square().sum(), embeddings, retain_graph=True)
        assert gradient.any(), key


def test_hooks_go_also_after_an_error() -> None:
    """A forward that fails, here of a token beyond the vocabulary, leaves the model unchanged."""
    model = build("bart")
    with pytest.raises(IndexError), capture_attention(model):
        model(input_ids=torch.tensor([[V]]))

    assert hooks(model) == 0


def test_a_skipped_layer_leaves_nothing_stale() -> None:
    """Layer dropout skips the last layer: what an earlier forward left is gone, the hidden states are new."""
    model = build("bart")
    with capture_attention(model) as captured:
        logits(model)
        model.get_decoder().train().layerdrop = 1.0
        logits(model)

    assert set(captured.relations) == {*(f"encoder.{role}" for role in ROLES), "encoder.hidden", "decoder.hidden"}


@EVERY_FAMILY
def test_heads_are_the_decoders(family: str) -> None:
    """Also where the encoder has another number, and where keys have fewer."""
    assert attention_heads(build(family)) == HEADS


def test_every_family_of_the_table_is_tested() -> None:
    """This module has a config for each entry whose attention can be captured."""
    assert {name for name, own in FAMILIES.items() if own.stacks["decoder"].attentions} == set(CONFIGS)


def test_unknown_families_are_refused() -> None:
    """The message names the family, the known ones and the layouts it was compared with."""
    config = tf.GPTNeoXConfig(
        hidden_size=H, num_hidden_layers=1, num_attention_heads=HEADS, vocab_size=V, intermediate_size=8
    )
    model = tf.AutoModelForCausalLM.from_config(config)
    with (
        pytest.raises(ModelError, match=r"'gpt_neox'.*bart, mbart.*model\.layers.*forward_kl"),
        capture_attention(model),
    ):
        pass
    with pytest.raises(ModelError, match="'gpt_neox'"):
        attention_heads(model)
