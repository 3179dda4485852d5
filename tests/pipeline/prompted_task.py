"""A small task, and a recipe for a chat model that reads it by a prompt of its own."""

import json
from pathlib import Path
from typing import Any

import torch
from tests.models.chat_templates import chat_tokenizer
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from understudy.models.checkpoint import save_network

SIZES = {"labeled": 8, "unlabeled": 5, "dev": 3, "test": 4}
THINGS = ("lamp", "chair", "order", "table")
SHORT = {"epochs": 2, "batch_tokens": 400, "warmup_steps": 1}
PROMPT = "Say it: {source}"
OWN_PROMPT = "Read the list and say what is ordered.\n{source}"


def write_task(folder: Path) -> dict[str, str]:
    """One JSONL file per split; no source occurs twice."""
    number, paths = 0, {}
    for split, size in SIZES.items():
        lines = []
        for _ in range(size):
            thing = THINGS[number % len(THINGS)]
            row = {"id": f"i{number}", "source": f"has {number} {thing}", "target": f"{number} {thing}s"}
            lines.append(json.dumps(row if split != "unlabeled" else {"id": row["id"], "source": row["source"]}))
            number += 1
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
        paths[split] = str(folder / f"{split}.jsonl")
    return paths


def write_checkpoint(folder: Path, family: str = "qwen3", *, template: bool = True, positions: int = 0) -> str:
    """A tiny causal network in hub layout, with or without the chat template of a family and learned positions."""
    tokenizer = chat_tokenizer(family)
    if not template:
        tokenizer.chat_template = None
    ends: dict[str, Any] = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    torch.manual_seed(0)
    if positions:
        learned = GPT2Config(vocab_size=len(tokenizer), n_positions=positions, n_embd=16, n_layer=2, n_head=2, **ends)
        save_network(GPT2LMHeadModel(learned), tokenizer, folder)
        return str(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        **ends,
        initializer_range=0.5,  # so that distributions differ by their context
    )
    save_network(LlamaForCausalLM(config), tokenizer, folder)
    return str(folder)


def prompted_recipe(paths: dict[str, str], checkpoint: str, **teacher: Any) -> dict[str, Any]:  # noqa: ANN401 - settings
    """A pruned student of a teacher that is used as it is."""
    return {
        "name": "prompted",
        "precision": "float32",
        "engine": "hf",
        "task": {
            "files": paths,
            "prompt": PROMPT,
            "metrics": ["exact_match", "chrf"],
            "max_source_tokens": 100,
            "max_target_tokens": 16,
        },
        "teacher": {"model": checkpoint, **teacher},
        "student": {"prune": {"decoder_layers": 1}, "finetune": SHORT},
        "pseudo_targets": {"per_input": 1, "decoding": {"kind": "greedy"}, "min_finished": 0},
        "distil": {"method": "joint_teaching"},
        "training": SHORT,
        "evaluation": {
            "decoding": {"kind": "greedy"},
            "resamples": 20,
            "latency_inputs": 1,
            "batch_inputs": 1,
            "repeats": 1,
        },
    }
