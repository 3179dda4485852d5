from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from transformers import BartConfig, BartForConditionalGeneration, GPT2Config, GPT2LMHeadModel, PreTrainedModel

from understudy.errors import EvaluationError
from understudy.evaluation.disagreement import measure_disagreement
from understudy.models.forward import target_logits

VOCABULARY = 7
SOURCES = [[5, 1], [2], [3, 3, 3], [1, 1, 2, 4], [6]]
TEXTS = [[1, 2, 3], [4], [0, 0, 6, 5], [2, 1], [3, 0]]


def bart(seed: int) -> PreTrainedModel:
    """A random encoder-decoder; its embeddings have a row more than there are tokens."""
    torch.manual_seed(seed)
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = BartConfig(vocab_size=VOCABULARY + 1, d_model=8, init_std=0.5, pad_token_id=1, **sizes)
    return BartForConditionalGeneration(config).eval()


def gpt2(seed: int) -> PreTrainedModel:
    """A random decoder-only network."""
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=8, n_layer=1, n_head=2, n_positions=16, initializer_range=0.5)
    return GPT2LMHeadModel(config).eval()


def slow_logits(network: PreTrainedModel, source: list[int], text: list[int]) -> Tensor:
    """The distributions at the tokens of one text, one forward pass per prefix."""
    rows = []
    for t in range(len(text)):
        if network.config.is_encoder_decoder:
            prefix = [network.config.decoder_start_token_id, *text[:t]]
            out = network(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([prefix]))
        else:
            out = network(input_ids=torch.tensor([[*source, *text[:t]]]))
        rows.append(out.logits[0, -1, :VOCABULARY])
    return torch.stack(rows)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_readings_are_those_of_torch_distributions(batch_size: int) -> None:
    """An encoder-decoder and a decoder-only network, each reading sources as its family does, prefix by prefix."""
    teacher, student = bart(0), gpt2(1)
    student_sources = [[*source, 0] for source in SOURCES]
    readings = measure_disagreement(
        partial(target_logits, teacher),
        partial(target_logits, student),
        teacher_sources=SOURCES,
        student_sources=student_sources,
        texts=TEXTS,
        vocabulary=VOCABULARY,
        batch_size=batch_size,
    )

    with torch.inference_mode():
        for reading, source, other, text in zip(readings, SOURCES, student_sources, TEXTS, strict=True):
            p = Categorical(logits=slow_logits(teacher, source, text))
            q = Categorical(logits=slow_logits(student, other, text))
            assert reading.kl_T.tolist() == pytest.approx(kl_divergence(p, q).tolist(), rel=1e-4, abs=1e-6)
            assert reading.entropy_T.tolist() == pytest.approx(p.entropy().tolist(), rel=1e-5)  # type: ignore[no-untyped-call]


def test_a_network_agrees_with_itself() -> None:
    """No divergence anywhere."""
    network = partial(target_logits, gpt2(0))
    readings = measure_disagreement(
        network, network, teacher_sources=SOURCES, student_sources=SOURCES, texts=TEXTS, vocabulary=VOCABULARY
    )

    assert all(not reading.kl_T.any() for reading in readings)


def test_a_text_without_tokens_is_refused() -> None:
    """There is no position to compare at."""
    network = partial(target_logits, gpt2(0))

    with pytest.raises(EvaluationError, match="1 of 2 texts have none; leave these out"):
        measure_disagreement(
            network, network, teacher_sources=[[1], [2]], student_sources=[[1], [2]], texts=[[1], []], vocabulary=7
        )


def test_lists_that_do_not_match_are_refused() -> None:
    """The message gives all three lengths."""
    network = partial(target_logits, gpt2(0))

    with pytest.raises(EvaluationError, match="got 1 sources for the teacher, 2 for the student and 1 texts"):
        measure_disagreement(
            network, network, teacher_sources=[[1]], student_sources=[[1], [2]], texts=[[1]], vocabulary=7
        )
