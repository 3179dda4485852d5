"""Trains a tiny Llama on the forecast task and writes it as a GGUF file, for third-party chat servers (llama.cpp).

As a script it writes the file; `docs/api-teacher.md` describes how to serve it. Needs the package `gguf`. Its tokenizer
is byte-level with few merges, so some tokens are half a character.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

import gguf
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from understudy.config.model_sections import Scratch
from understudy.demo.forecast import forecast_task
from understudy.models.scratch import build_network
from understudy.models.tokenizers import SPECIAL_TOKENS
from understudy.records import Example
from understudy.tasks import read_examples

TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
"""Chat template: one message per line."""
VOCAB_SIZE, WIDTH, LAYERS, HEADS, INNER, POSITIONS = 512, 96, 2, 4, 256, 1024
ORDER = ("pad", "bos", "eos", "unk")


def make_gguf(path: Path, examples: Sequence[Example], *, steps: int) -> None:
    """Trains a network on the first target of each example, 16 texts per step, and writes it."""
    texts = [(f"{example.source}\n", example.targets[0]) for example in examples]
    tokenizer = tokenizer_of([part for text in texts for part in text])
    network = build_network(
        Scratch(
            architecture="llama",
            width=WIDTH,
            encoder_layers=0,
            decoder_layers=LAYERS,
            heads=HEADS,
            feed_forward=INNER,
            dropout=0.0,
        ),
        tokenizer,
        max_positions=POSITIONS,
        seed=1,
    )
    _train(network, tokenizer, texts, steps)
    _write(path, network, tokenizer)


def tokenizer_of(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with few merges."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [SPECIAL_TOKENS[f"{name}_token"] for name in ORDER]
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCAB_SIZE, special_tokens=special, initial_alphabet=sorted(alphabet), show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, **SPECIAL_TOKENS)


def _train(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, texts: list[tuple[str, str]], steps: int
) -> None:
    draw, end = random.Random(1), SPECIAL_TOKENS["eos_token"]
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    network.train()
    for _ in range(steps):
        batch = draw.sample(texts, 16)
        rows = [(tokenizer.encode(source), tokenizer.encode(target + end)) for source, target in batch]
        longest = max(len(source) + len(target) for source, target in rows)
        ids_BT = torch.full((len(rows), longest), tokenizer.pad_token_id)
        labels_BT = torch.full((len(rows), longest), -100)
        for row, (source, target) in enumerate(rows):
            whole = torch.tensor(source + target)
            ids_BT[row, : len(whole)], labels_BT[row, len(source) : len(whole)] = whole, whole[len(source) :]
        logits_BTV = network(input_ids=ids_BT).logits
        optimizer.zero_grad()
        loss = cross_entropy(logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten())
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    network.eval()


def _write(path: Path, network: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    file = gguf.GGUFWriter(path, "llama")
    file.add_name("tiny")
    file.add_context_length(POSITIONS)
    file.add_embedding_length(WIDTH)
    file.add_block_count(LAYERS)
    file.add_feed_forward_length(INNER)
    file.add_head_count(HEADS)
    file.add_layer_norm_rms_eps(network.config.rms_norm_eps)
    file.add_rope_dimension_count(WIDTH // HEADS)
    file.add_vocab_size(len(tokenizer))
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    file.add_token_list(tokens)
    file.add_token_types([gguf.TokenType.CONTROL] * len(ORDER) + [gguf.TokenType.NORMAL] * (len(tokens) - len(ORDER)))
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    file.add_token_merges([" ".join(merge) for merge in merges])
    file.add_pad_token_id(tokenizer.pad_token_id)
    file.add_bos_token_id(tokenizer.bos_token_id)
    file.add_eos_token_id(tokenizer.eos_token_id)
    file.add_unk_token_id(tokenizer.unk_token_id)
    file.add_add_bos_token(False)
    file.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, LAYERS)
    for name, weight in network.state_dict().items():
        if name == "lm_head.weight":  # tied: llama.cpp uses the embeddings if it is missing
            continue
        rows = weight
        if name.endswith(("q_proj.weight", "k_proj.weight")):  # llama.cpp rotates neighboring dimensions, not halves
            rows = weight.view(HEADS, 2, -1, WIDTH).transpose(1, 2).reshape(weight.shape)
        file.add_tensor(names.get_name(name, try_suffixes=(".weight",)), rows.contiguous().numpy())
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="file to write")
    parser.add_argument("--labeled", type=Path, help="records with source and target, instead of the embedded task")
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.labeled:
        examples = read_examples(arguments.labeled, split="labeled", labeled=True)
    else:
        examples = forecast_task(labeled=1500, unlabeled=1, dev=1, test=1, seed=1).labeled
    make_gguf(arguments.path, examples, steps=arguments.steps)


if __name__ == "__main__":
    main()
