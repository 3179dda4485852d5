"""The tokens that are learned in each format, against an independent loop over characters and the library's loss."""

from collections.abc import Sequence

import pytest
import torch
from tests.models.chat_templates import FAMILIES, chat_tokenizer
from tests.models.special_tokenizers import byte_level, unigram
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
)

from understudy.models.forward import target_logits
from understudy.models.text import encode_sources, encode_targets, set_source_format
from understudy.pool.token_arrays import TokenArrays
from understudy.records import TextGenerator
from understudy.training.batches import collate
from understudy.training.items import TrainItem

SOURCES = ["the order", "has a lamp\nand 2 chairs", "x"]
TARGETS = ["a lamp and 2 chairs", "2", "the order\nhas"]
IGNORED = -100
Labeled = tuple[list[int], list[int]]
"""A row that a network reads and the label at each of its positions, `IGNORED` where nothing is learned."""


def by_characters(tokenizer: PreTrainedTokenizerBase, text: str, start: int, end: int) -> Labeled:
    """A whole conversation, of which the tokens that lie within [start, end) are learned."""
    whole = tokenizer(text, add_special_tokens=False, split_special_tokens=False, return_offsets_mapping=True)
    labels = []
    for token_id, (first, last) in zip(whole["input_ids"], whole["offset_mapping"], strict=True):
        labels.append(token_id if start <= first and last <= end else IGNORED)
    return whole["input_ids"], labels


def in_chat(tokenizer: PreTrainedTokenizerBase, source: str, target: str) -> Labeled:
    """The template with the answer in its place: the answer and the token after it are learned."""
    turns = [{"role": "user", "content": source}, {"role": "assistant", "content": target}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    start = text.rindex(target)
    return by_characters(tokenizer, text, start, start + len(target) + len(tokenizer.eos_token))


def in_plain_text(tokenizer: PreTrainedTokenizerBase, source: str, target: str, separator: str) -> Labeled:
    """Source, separator, target and end, written as one text."""
    start = len(source + separator)
    text = source + separator + target + tokenizer.eos_token
    return by_characters(tokenizer, text, start, len(text))


def ours(rows: Sequence[list[int]], targets: Sequence[list[int]]) -> dict[str, torch.Tensor]:
    """The micro-batch of all pairs."""
    items = [TrainItem(index, "gold", (index,)) for index in range(len(rows))]
    texts: dict[TextGenerator, TokenArrays] = {"gold": TokenArrays.of(targets)}
    return collate(items, TokenArrays.of(rows), texts, pad=0).inputs(torch.device("cpu"))


def our_loss(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> float:
    """The sum in nats over the supervised positions."""
    with torch.no_grad():
        logits = target_logits(model, **inputs)
    labels = inputs["target_ids_BT"][inputs["target_mask_BT"]]
    return float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))


def library_loss(model: PreTrainedModel, pairs: Sequence[Labeled]) -> float:
    """The sum of the losses that transformers computes itself, row by row, so that nothing is padded."""
    total = 0.0
    for row, labels in pairs:
        count = sum(label != IGNORED for label in labels)
        with torch.no_grad():
            total += float(model(input_ids=torch.tensor([row]), labels=torch.tensor([labels])).loss) * count
    return total


def llama(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A tiny causal network for these tokens."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_in_a_chat_the_answer_and_its_end_are_learned_and_nothing_else(name: str) -> None:
    """The rows and labels of an independent loop, and the loss of transformers for these labels."""
    tokenizer = chat_tokenizer(name)
    set_source_format(tokenizer, "chat")
    rows = encode_sources(tokenizer, SOURCES, is_encoder_decoder=False)
    targets = encode_targets(tokenizer, TARGETS, is_encoder_decoder=False)
    expected = [in_chat(tokenizer, source, target) for source, target in zip(SOURCES, TARGETS, strict=True)]
    # What the template writes after the end of the answer is never read.
    expected = [(row[: _last(labels) + 1], labels[: _last(labels) + 1]) for row, labels in expected]

    assert [row + target for row, target in zip(rows, targets, strict=True)] == [row for row, _ in expected]
    assert [[IGNORED] * len(row) + target for row, target in zip(rows, targets, strict=True)] == [
        labels for _, labels in expected
    ]
    model = llama(tokenizer)
    assert our_loss(model, ours(rows, targets)) == pytest.approx(library_loss(model, expected), rel=1e-5)


@pytest.mark.parametrize(("format_", "separator"), [("separator", "<|end|>"), ("none", "")])
def test_in_plain_text_the_target_and_its_end_are_learned_and_nothing_else(format_: str, separator: str) -> None:
    """The separator belongs to the source; where there is none, the target follows the source's last character."""
    tokenizer = byte_level()
    set_source_format(tokenizer, format_)  # type: ignore[arg-type]
    # A line break, so that no token holds the end of the source and the start of the target.
    sources = [source if separator else f"{source}\n" for source in SOURCES]
    rows = encode_sources(tokenizer, sources, is_encoder_decoder=False)
    targets = encode_targets(tokenizer, TARGETS, is_encoder_decoder=False)
    expected = [in_plain_text(tokenizer, *pair, separator) for pair in zip(sources, TARGETS, strict=True)]

    assert [row + target for row, target in zip(rows, targets, strict=True)] == [row for row, _ in expected]
    assert [[IGNORED] * len(row) + target for row, target in zip(rows, targets, strict=True)] == [
        labels for _, labels in expected
    ]
    model = llama(tokenizer)
    assert our_loss(model, ours(rows, targets)) == pytest.approx(library_loss(model, expected), rel=1e-5)


def test_of_an_encoder_decoder_the_whole_target_and_its_end_are_learned() -> None:
    """The source is no label; transformers shifts the same labels to the decoder's inputs."""
    tokenizer = unigram()
    rows = encode_sources(tokenizer, SOURCES, is_encoder_decoder=True)
    targets = encode_targets(tokenizer, TARGETS, is_encoder_decoder=True)
    expected = [
        (tokenizer(source)["input_ids"], tokenizer(target)["input_ids"])
        for source, target in zip(SOURCES, TARGETS, strict=True)
    ]
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), pad_token_id=0, **sizes)).eval()

    assert [*zip(rows, targets, strict=True)] == expected
    assert our_loss(model, ours(rows, targets)) == pytest.approx(library_loss(model, expected), rel=1e-5)


def test_the_loss_of_a_padded_batch_is_that_of_its_rows() -> None:
    """Padding is on the right and is no label, whatever id it has: here that of the end of an answer."""
    tokenizer = chat_tokenizer("qwen2.5")
    set_source_format(tokenizer, "chat")
    rows = encode_sources(tokenizer, SOURCES, is_encoder_decoder=False)
    targets = encode_targets(tokenizer, TARGETS, is_encoder_decoder=False)
    model = llama(tokenizer)
    items = [TrainItem(index, "gold", (index,)) for index in range(len(rows))]
    texts: dict[TextGenerator, TokenArrays] = {"gold": TokenArrays.of(targets)}
    whole, one_by_one = (
        [collate(part, TokenArrays.of(rows), texts, pad=tokenizer.eos_token_id) for part in parts]
        for parts in ([items], [[item] for item in items])
    )

    losses = [
        sum(our_loss(model, batch.inputs(torch.device("cpu"))) for batch in batches) for batches in (whole, one_by_one)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def _last(labels: Sequence[int]) -> int:
    """The last position that is learned."""
    return max(index for index, label in enumerate(labels) if label != IGNORED)
