"""The rows of a network that a trimmed vocabulary keeps."""

from pathlib import Path

import pytest
import torch
import transformers as tf
from tests.models.test_families import DECODER, ENCODER_DECODER, SMALL, T5, build
from torch import Tensor
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel

from understudy.errors import ModelError
from understudy.models.checkpoint import load_network
from understudy.models.vocabulary_rows import keep_rows, named_tokens, trimmed_config

KEPT = [0, 1, 2, 5, 6, 9]
GEMMA3 = {"head_dim": 4, "sliding_window": 2, "layer_types": ["sliding_attention", "full_attention"] * 2}
CONFIGS: dict[str, PretrainedConfig] = {
    "gpt2": tf.GPT2Config(**SMALL, n_embd=8, n_layer=2, n_head=2, n_positions=16, initializer_range=0.3),
    "llama, untied": tf.LlamaConfig(**SMALL, **DECODER, tie_word_embeddings=False),
    "llama, tied": tf.LlamaConfig(**SMALL, **DECODER, tie_word_embeddings=True),
    "phi, with a bias": tf.PhiConfig(**SMALL, **DECODER),
    "opt": tf.OPTConfig(**SMALL, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, ffn_dim=8, init_std=0.3,
                        word_embed_proj_dim=8, max_position_embeddings=16),
    "gemma3": tf.Gemma3TextConfig(**SMALL, **DECODER, **GEMMA3),
    "gemma3n": tf.Gemma3nTextConfig(
        **SMALL, **DECODER, **GEMMA3, vocab_size_per_layer_input=10, hidden_size_per_layer_input=4, laurel_rank=2,
        num_kv_shared_layers=0, altup_num_inputs=2, activation_sparsity_pattern=[0.0] * 4,
    ),
    "t5, tied": tf.T5Config(**SMALL, **T5),
    "mt5": tf.MT5Config(**SMALL, **T5, tie_word_embeddings=False),
    "bart": tf.BartConfig(**SMALL, **ENCODER_DECODER),
    "mbart": tf.MBartConfig(**SMALL, **ENCODER_DECODER),
    "m2m100": tf.M2M100Config(**SMALL, **ENCODER_DECODER),
    "t5gemma": tf.T5GemmaConfig(
        encoder={**SMALL, **DECODER, **GEMMA3},
        decoder={**SMALL, **DECODER, **GEMMA3},
        **SMALL,
        decoder_start_token_id=1,
    ),
}  # fmt: skip
EVERY = pytest.mark.parametrize("family", CONFIGS)


def losses(model: PreTrainedModel, ids: Tensor, kept: list[int] | None = None) -> Tensor:
    """Nats of each token after the first, over all tokens or renormalised over the kept ones."""
    given = {"input_ids": ids} | ({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})
    with torch.no_grad():
        logits = model(**given, use_cache=False).logits[:, :-1]
    if kept:
        places = {old: new for new, old in enumerate(kept)}
        logits, ids = logits[..., kept], torch.tensor([[places[int(i)] for i in row] for row in ids])
    found: Tensor = -logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return found


@EVERY
def test_the_loss_is_the_whole_one_renormalised_over_the_kept_tokens(family: str, tmp_path: Path) -> None:
    """Also after saving and loading, with every bias and in every tie of embeddings."""
    whole = build(CONFIGS[family])
    for name, buffer in [*whole.named_buffers(), *whole.named_parameters()]:
        if name.endswith(("final_logits_bias", "lm_head.bias")):
            torch.nn.init.normal_(buffer.data)
    trimmed = keep_rows(whole, KEPT)
    trimmed.save_pretrained(tmp_path)
    loaded = load_network(str(tmp_path))
    new = torch.tensor([[1, 3, 4, 5, 2]])
    old = torch.tensor([[KEPT[int(i)] for i in row] for row in new])

    for model in (trimmed, loaded):
        torch.testing.assert_close(losses(model, new), losses(whole, old, KEPT), atol=1e-5, rtol=0)
    assert loaded.get_input_embeddings().weight.shape[0] == len(KEPT)
    assert loaded.get_output_embeddings().weight.shape[0] == len(KEPT)
    assert whole.get_input_embeddings().weight.shape[0] == SMALL["vocab_size"]


def test_the_ids_that_the_config_names_are_renumbered() -> None:
    """Those of texts' starts and ends, in lists too; a suppressed token that is gone leaves its list."""
    own = {**SMALL, "bos_token_id": 5, "eos_token_id": [6, 9], "pad_token_id": 2}
    model = build(tf.LlamaConfig(**own, **DECODER))
    model.generation_config = GenerationConfig(
        bos_token_id=5, eos_token_id=[6, 9], pad_token_id=2, suppress_tokens=[1, 3], bad_words_ids=[[1, 2], [3]]
    )
    trimmed = keep_rows(model, KEPT)
    config, format_ = trimmed.config, trimmed.generation_config

    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (3, [4, 5], 2)
    assert (format_.bos_token_id, format_.eos_token_id, format_.pad_token_id) == (3, [4, 5], 2)
    assert (format_.suppress_tokens, format_.bad_words_ids) == ([1], [[1, 2]])
    assert named_tokens(model.config, model.generation_config) == {2, 5, 6, 9}
    assert (model.config.bos_token_id, model.config.vocab_size) == (5, 11)


def test_configs_within_a_config_are_trimmed() -> None:
    """T5Gemma has one of its encoder and one of its decoder."""
    config = trimmed_config(CONFIGS["t5gemma"], KEPT)

    assert {config.vocab_size, config.encoder.vocab_size, config.decoder.vocab_size} == {len(KEPT)}


def test_rows_that_the_network_does_not_have_are_refused() -> None:
    """As of a tokenizer with more tokens than embeddings."""
    with pytest.raises(ModelError, match=r"shape \(11, 8\).*vocab_size"):
        keep_rows(build(CONFIGS["gpt2"]), [0, 1, 2, 11])


def test_the_padding_of_embeddings_is_that_of_the_kept_pad_token(tmp_path: Path) -> None:
    """Its row takes no gradient, before and after."""
    trimmed = keep_rows(build(tf.LlamaConfig(**{**SMALL, "pad_token_id": 9}, **DECODER)), KEPT)

    assert trimmed.get_input_embeddings().padding_idx == KEPT.index(9)
