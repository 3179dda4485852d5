"""The model pairs of the paper at the smallest sizes: checkpoints in the hub's layout, as each family is configured."""

from pathlib import Path
from typing import Any

import pytest
import transformers as tf
from tests.pipeline.stage_helpers import network_folder, train
from transformers import PreTrainedTokenizerBase

from understudy.config.read import check_recipe, merge
from understudy.models.checkpoint import load_network, save_network
from understudy.models.tokenizers import train_tokenizer

LENGTH = 400


def t5(tokenizer: PreTrainedTokenizerBase, layers: int) -> tf.PreTrainedModel:
    """No bos token; targets start with padding; relative positions."""
    tokenizer.bos_token = None
    config = tf.T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=layers, num_heads=2, eos_token_id=2,
        pad_token_id=tokenizer.pad_token_id, decoder_start_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return tf.T5ForConditionalGeneration(config)


def bart(tokenizer: PreTrainedTokenizerBase, layers: int) -> tf.PreTrainedModel:
    """Targets start with the end token, and the checkpoint forces tokens upon generation."""
    config = tf.BartConfig(
        vocab_size=len(tokenizer) + 3, d_model=16, encoder_layers=layers, decoder_layers=layers, encoder_ffn_dim=16,
        decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2, max_position_embeddings=LENGTH,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model = tf.BartForConditionalGeneration(config)
    model.generation_config.forced_eos_token_id = tokenizer.eos_token_id
    return model


def gpt2(tokenizer: PreTrainedTokenizerBase, layers: int) -> tf.PreTrainedModel:
    """One special token for everything, and no padding."""
    tokenizer.pad_token = None
    tokenizer.bos_token = tokenizer.eos_token
    config = tf.GPT2Config(
        vocab_size=len(tokenizer), n_embd=16, n_layer=layers, n_head=2, n_positions=2 * LENGTH,
        bos_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return tf.GPT2LMHeadModel(config)


def opt(tokenizer: PreTrainedTokenizerBase, layers: int) -> tf.PreTrainedModel:
    """Positions with an offset, and a projection from the width of the embedding."""
    config = tf.OPTConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, ffn_dim=16,
        word_embed_proj_dim=8, max_position_embeddings=2 * LENGTH, bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return tf.OPTForCausalLM(config)


def saved(build: Any, folder: Path, layers: int) -> str:  # noqa: ANN401 - one of the four above
    """A checkpoint; all those of a family have the same tokenizer."""
    tokenizer = train_tokenizer(["Falford Tuesday temp rain winds"] * 3, vocab_size=120)
    save_network(build(tokenizer, layers), tokenizer, folder)
    return str(folder)


@pytest.mark.parametrize(
    ("build", "prune"),
    [(t5, None), (bart, {"decoder_layers": 2}), (gpt2, None), (opt, None)],
    ids=["T5-L to T5-S", "BART-L to BART-6:2", "GPT2-L to GPT2", "OPT-350M to OPT-125M"],
)
def test_a_pair_of_the_paper_is_distilled(build: Any, prune: Any, tiny: dict[str, Any], tmp_path: Path) -> None:  # noqa: ANN401
    """The teacher is fine-tuned, and the smaller network distilled by Joint-Teaching; the student reloads."""
    plain = {key: own for key, own in tiny.items() if key not in {"teacher", "student"}}
    student = {"prune": prune} if prune else {"model": saved(build, tmp_path / "small", 1)}
    recipe = merge(
        plain,
        {
            "task": {"max_source_tokens": LENGTH - 8, "max_target_tokens": LENGTH - 8},
            "teacher": {"model": saved(build, tmp_path / "large", 3), "finetune": tiny["teacher"]["finetune"]},
            "student": {**student, "finetune": tiny["student"]["finetune"]},
            "pseudo_targets": {"per_input": 1},
            "distil": {"final_finetune": None},
        },
    )
    stages, context = train(check_recipe(recipe), tmp_path / "runs")
    systems = stages.systems
    large, small = (load_network(str(network_folder(one.network, context))) for one in (systems.teacher, systems.final))

    assert small.config.model_type == large.config.model_type
    assert small.num_parameters() < large.num_parameters()
    assert all(weights.isfinite().all() for weights in small.parameters())
