import pytest
import torch
from tests.sizes import small
from transformers import PreTrainedModel

from understudy.config.model_sections import Architecture
from understudy.evaluation.greedy import greedy_continuations
from understudy.models.scratch import build_network
from understudy.models.tokenizers import train_tokenizer

TOKENIZER = train_tokenizer(["snow in the north", "rain in the south"], vocab_size=150)
END, PAD = TOKENIZER.eos_token_id, TOKENIZER.pad_token_id
SOURCES = [[5, 6, 7], [8], [9, 10]]


def network(architecture: Architecture) -> PreTrainedModel:
    """Random weights, wide enough apart for texts that differ."""
    built = build_network(
        small(architecture, feed_forward=32, dropout=0.5),
        TOKENIZER,
        max_positions=32,
        seed=3,
    )
    torch.manual_seed(0)
    for parameter in built.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return built


def naive(model: PreTrainedModel, source: list[int], prefix: list[int], *, max_tokens: int) -> tuple[int, ...]:
    """The most probable token each time, one whole forward pass per token."""
    written: list[int] = []
    model.eval()
    while len(written) < max_tokens and written[-1:] != [END]:
        so_far = [*prefix, *written]
        with torch.inference_mode():
            if model.config.is_encoder_decoder:
                start = model.config.decoder_start_token_id
                out = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([[start, *so_far]]))
            else:
                out = model(input_ids=torch.tensor([[*source, *so_far]]))
        written.append(int(out.logits[0, -1].argmax()))
    return tuple(written)


@pytest.mark.parametrize("architecture", ["bart", "t5", "gpt2"])
@pytest.mark.parametrize("prefix", [[], [11, 12]])
def test_what_is_written_is_what_a_naive_loop_writes(architecture: Architecture, prefix: list[int]) -> None:
    """With and without a prefix, sources of several lengths in one batch, dropout off although it was on."""
    model = network(architecture).train()
    written = greedy_continuations(model, SOURCES, [prefix] * 3, eos=END, pad=PAD, max_tokens=6)

    assert model.training
    assert written == [naive(model, source, prefix, max_tokens=6) for source in SOURCES]


@pytest.mark.parametrize("architecture", ["bart", "gpt2"])
def test_a_length_can_be_forced(architecture: Architecture) -> None:
    """No text ends before, none goes on after."""
    model = network(architecture)
    model.get_output_embeddings().weight.data[END] = 0  # tied: also the embedding of the end

    written = greedy_continuations(model, SOURCES, [()] * 3, eos=END, pad=PAD, min_tokens=7, max_tokens=7)

    assert [len(text) for text in written] == [7, 7, 7]
