from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    BartForConditionalGeneration,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from understudy.models.checkpoint import max_positions
from understudy.models.forward import encode, is_noisy, shared_source_logits, target_logits

V, H = 23, 8
SOURCES = [[5, 6, 7, 2], [8, 2], [9, 10, 11, 12, 13, 2]]
TARGETS = [[4, 5, 2], [6, 2], [7, 8, 9, 10, 2], [2], [11, 12, 2]]
SOURCE_OF = [0, 2, 2, 1, 0]
DROPOUTS = ("dropout", "dropout_rate", "resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_dropout")


def bart() -> PreTrainedModel:
    """BART with a bias on its logits."""
    model = BartForConditionalGeneration(
        BartConfig(
            vocab_size=V, d_model=H, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=16,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, init_std=0.5,
        )
    )  # fmt: skip
    torch.nn.init.normal_(model.final_logits_bias)
    return model


def t5() -> PreTrainedModel:
    """T5, whose decoder starts with its padding id."""
    return T5ForConditionalGeneration(
        T5Config(vocab_size=V, d_model=H, d_kv=4, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0)
    )


def gpt2() -> PreTrainedModel:
    """GPT-2 with just enough positions for the longest row."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=V,
            n_embd=H,
            n_layer=2,
            n_head=2,
            n_positions=10,
            initializer_range=0.5,
            bos_token_id=2,
            eos_token_id=2,
        )
    )


def opt() -> PreTrainedModel:
    """OPT with just enough positions, and embeddings narrower than its states."""
    return OPTForCausalLM(
        OPTConfig(
            vocab_size=V, hidden_size=H, num_hidden_layers=2, ffn_dim=16, num_attention_heads=2,
            max_position_embeddings=10, word_embed_proj_dim=4, pad_token_id=1, init_std=0.5,
        )
    )  # fmt: skip


def llama() -> PreTrainedModel:
    """Llama with grouped queries."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=V, hidden_size=H, num_hidden_layers=2, intermediate_size=16, num_attention_heads=4,
            num_key_value_heads=2, pad_token_id=0, initializer_range=0.5,
        )
    )  # fmt: skip


FAMILIES = {"bart": bart, "t5": t5, "gpt2": gpt2, "opt": opt, "llama": llama}


def windowed(kind: type[PreTrainedModel], config: type[PretrainedConfig], **settings: object) -> PreTrainedModel:
    """A model whose attention sees four positions, one key-value head, and a head width of its own."""
    return kind(
        config(
            vocab_size=V, hidden_size=H, num_hidden_layers=2, intermediate_size=16, num_attention_heads=4,
            num_key_value_heads=1, head_dim=4, pad_token_id=0, initializer_range=0.5, sliding_window=4, **settings,
        )
    )  # fmt: skip


def qwen3() -> PreTrainedModel:
    """Qwen 3, which normalises queries and keys."""
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=V, hidden_size=H, num_hidden_layers=2, intermediate_size=16, num_attention_heads=4,
            num_key_value_heads=2, head_dim=4, pad_token_id=0, initializer_range=0.5,
        )
    )  # fmt: skip


WINDOWED: dict[str, Callable[[], PreTrainedModel]] = {
    "mistral": lambda: windowed(MistralForCausalLM, MistralConfig),
    "gemma3": lambda: windowed(
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        layer_types=["sliding_attention", "full_attention"],
        query_pre_attn_scalar=4,
    ),
}


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Each family in turn, with random weights, in eval mode."""
    torch.manual_seed(0)
    return FAMILIES[request.param]().eval()


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Right-padded ids and their mask; the padding is a real token, so that leaks would show."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [3] * (width - len(row)) for row in rows])
    return ids, torch.arange(width) < torch.tensor([[len(row)] for row in rows])


def batched(
    model: PreTrainedModel,
    sources: list[list[int]],
    source_of: list[int],
    targets: list[list[int]] | None = None,
    *,
    sources_once: bool = False,
) -> Tensor:
    """All targets at once, by the function under test."""
    read = shared_source_logits if sources_once else target_logits
    source_ids, source_mask = padded(sources)
    target_ids, target_mask = padded(targets or TARGETS)
    return read(
        model,
        source_ids_SL=source_ids,
        source_mask_SL=source_mask,
        source_of_B=torch.tensor(source_of),
        target_ids_BT=target_ids,
        target_mask_BT=target_mask,
    )


def alone(model: PreTrainedModel, source: list[int], target: list[int]) -> Tensor:
    """One source and one target without padding, every position projected."""
    if model.config.is_encoder_decoder:
        inputs = [model.config.decoder_start_token_id, *target[:-1]]
        logits: Tensor = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([inputs])).logits
        return logits[0]
    logits = model(input_ids=torch.tensor([source + target[:-1]])).logits
    return logits[0, len(source) - 1 :]


def test_agrees_with_one_example_at_a_time(model: PreTrainedModel) -> None:
    """Padding, shared sources and selected positions change no logit."""
    expected = torch.cat([alone(model, SOURCES[s], target) for s, target in zip(SOURCE_OF, TARGETS, strict=True)])

    torch.testing.assert_close(batched(model, SOURCES, SOURCE_OF), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama", "mistral", "gemma3"])
def test_a_source_that_is_read_once_gives_the_logits_of_separate_rows(family: str) -> None:
    """In decoder-only models, with sources of several lengths, down to one token, and with sliding windows."""
    torch.manual_seed(0)
    model = {**FAMILIES, **WINDOWED}[family]().eval()
    sources = [*SOURCES, [4]]
    targets = [*TARGETS, [2, 5]]
    of = [*SOURCE_OF, len(SOURCES)]
    read: list[int] = []
    handle = model.get_input_embeddings().register_forward_hook(lambda *call: read.append(call[1][0].numel()))
    found = batched(model, sources, of, targets, sources_once=True)
    handle.remove()
    expected = torch.cat([alone(model, sources[s], target) for s, target in zip(of, targets, strict=True)])

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert sum(read) == len(sources) * (max(map(len, sources)) - 1) + len(targets) * max(map(len, targets))


def gradient(model: PreTrainedModel, logits_NV: Tensor, targets: list[list[int]] = TARGETS) -> Tensor:
    """Of the summed cross-entropy of the targets, all parameters in one vector."""
    labels_N = torch.tensor([token for target in targets for token in target])
    loss = torch.nn.functional.cross_entropy(logits_NV, labels_N, reduction="sum")
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama", "mistral", "gemma3", "qwen3"])
def test_a_source_that_is_read_once_gives_the_gradient_of_separate_rows(family: str) -> None:
    """In training mode, with sources of several lengths, down to one token, and with sliding windows."""
    torch.manual_seed(0)
    config = {**FAMILIES, **WINDOWED, "qwen3": qwen3}[family]().config
    config.update(dict.fromkeys(DROPOUTS, 0.0))
    model = AutoModelForCausalLM.from_config(config).train()
    sources, targets, of = [*SOURCES, [4]], [*TARGETS, [2, 5]], [*SOURCE_OF, len(SOURCES)]
    found = gradient(model, batched(model, sources, of, targets, sources_once=True), targets)
    rows = [batched(model, [sources[s]], [0], [target]) for s, target in zip(of, targets, strict=True)]
    separate = gradient(model, torch.cat(rows), targets)

    assert (found - separate).norm() < 1e-5 * separate.norm()


def test_with_gradient_checkpointing_each_target_has_its_own_row() -> None:
    """A network that computes its activations again returns no key-value cache."""
    model = llama()
    model.activation_checkpointing_enable()
    once = batched(model.train(), SOURCES, SOURCE_OF, sources_once=True)

    torch.testing.assert_close(once, batched(model, SOURCES, SOURCE_OF), rtol=1e-5, atol=1e-5)


def test_shared_sources_give_the_gradient_of_separate_examples(model: PreTrainedModel) -> None:
    """Several targets of one source and as many copies of it have one summed gradient."""
    shared = gradient(model, batched(model, SOURCES, SOURCE_OF))
    separate = gradient(model, batched(model, [SOURCES[s] for s in SOURCE_OF], list(range(len(TARGETS)))))

    assert (shared - separate).norm() < 1e-5 * separate.norm()


def test_projects_only_true_positions(model: PreTrainedModel) -> None:
    """The largest tensor, logits, has a row for each true position and no more."""
    seen: list[torch.Size] = []
    handle = model.get_output_embeddings().register_forward_hook(lambda *call: seen.append(call[2].shape))
    batched(model, SOURCES, SOURCE_OF)
    handle.remove()

    assert seen == [(sum(map(len, TARGETS)), V)]


def test_does_not_change_the_model(model: PreTrainedModel) -> None:
    """After the call, and after a failed one, the model projects every position again."""
    batched(model, SOURCES, SOURCE_OF)
    with pytest.raises(IndexError):
        batched(model, SOURCES, [99] * len(SOURCE_OF))

    assert alone(model, SOURCES[0], TARGETS[0]).shape == (len(TARGETS[0]), V)


@pytest.mark.parametrize("family", ["bart", "t5"])
def test_encode_is_the_encoder(family: str) -> None:
    """The states are those the whole model would compute and report."""
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
    ids, mask = padded(SOURCES)
    expected = model(input_ids=ids, attention_mask=mask, decoder_input_ids=ids).encoder_last_hidden_state

    torch.testing.assert_close(encode(model, ids, mask), expected)


def test_max_positions_is_the_number_of_positions(model: PreTrainedModel) -> None:
    """A text of this length works, one token more fails; without a limit any length works."""
    longest = max_positions(model.config)

    def read(tokens: int) -> Tensor:
        more = {"decoder_input_ids": torch.tensor([[3]])} if model.config.is_encoder_decoder else {}
        logits: Tensor = model(input_ids=torch.full((1, tokens), 3), **more).logits
        return logits

    assert read(longest or 100).isfinite().all()
    assert (longest is None) == isinstance(model, T5ForConditionalGeneration | LlamaForCausalLM)
    if longest:
        with pytest.raises((IndexError, RuntimeError)):
            read(longest + 1)


DROPOUT = {bart: "dropout", t5: "dropout_rate", gpt2: "attn_pdrop", opt: "dropout", llama: "attention_dropout"}


@pytest.mark.parametrize("build", DROPOUT)
def test_a_model_is_noisy_if_dropout_changes_its_output(build: Callable[[], PreTrainedModel]) -> None:
    """Whatever its family calls dropout; its mode and the random state do not change."""
    for share in (0.0, 0.5):
        config = build().config
        config.update(dict.fromkeys(DROPOUTS, 0.0))
        config.update({DROPOUT[build]: share})
        network, before = type(build())(config).eval(), torch.get_rng_state()

        assert is_noisy(network) == bool(share)
        assert not network.training
        assert torch.equal(torch.get_rng_state(), before)
