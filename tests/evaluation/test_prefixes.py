import pytest
import torch
from tests.sizes import small
from transformers import PreTrainedModel

from understudy.config.decoding import Greedy
from understudy.config.model_sections import Architecture
from understudy.errors import EvaluationError
from understudy.evaluation.greedy import greedy_continuations
from understudy.evaluation.prefixes import complete_prefixes, prefix_of
from understudy.generation.hf import HuggingFaceEngine
from understudy.models.scratch import build_network
from understudy.models.tokenizers import train_tokenizer

TOKENIZER = train_tokenizer(["snow in the north", "rain in the south"], vocab_size=150)
END, PAD = TOKENIZER.eos_token_id, TOKENIZER.pad_token_id
SOURCES = [[5, 6, 7], [8], [9, 10], [11, 5], [12, 13, 14, 5]]
LONGEST = 9


def network(architecture: Architecture, seed: int) -> PreTrainedModel:
    """Random weights; some of its texts end before the limit."""
    torch.manual_seed(seed)
    built = build_network(
        small(architecture, feed_forward=32),
        TOKENIZER,
        max_positions=32,
        seed=seed,
    )
    for parameter in built.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return built


def greedy(model: PreTrainedModel) -> list[tuple[int, ...]]:
    """What the engine writes."""
    texts = HuggingFaceEngine(model, TOKENIZER).generate(SOURCES, Greedy(), max_tokens=LONGEST)
    return [own[0].token_ids for own in texts]


def finished(teacher: PreTrainedModel, prefixes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The teacher finishes."""
    return complete_prefixes(
        teacher, sources=SOURCES, prefixes=prefixes, eos=END, pad=PAD, max_tokens=LONGEST, batch_size=2
    )


@pytest.mark.parametrize("architecture", ["bart", "gpt2"])
def test_nothing_of_the_student_leaves_the_teachers_text_and_all_of_it_the_students(architecture: Architecture) -> None:
    """0 % is what the engine lets the teacher write greedily, 100 % what it lets the student write."""
    teacher, student = network(architecture, 0), network(architecture, 1)
    written = greedy(student)

    assert finished(teacher, [prefix_of(text, 0) for text in written]) == greedy(teacher)
    assert finished(teacher, [prefix_of(text, 100) for text in written]) == written
    assert written != greedy(teacher)


@pytest.mark.parametrize("architecture", ["bart", "gpt2"])
def test_half_a_text_is_finished_as_if_it_were_alone(architecture: Architecture) -> None:
    """One source at a time, whatever lengths the other prefixes have."""
    teacher = network(architecture, 0)
    prefixes = [prefix_of(text, 50) for text in greedy(network(architecture, 1))]
    prefixes[1] = (7,)
    slow = [
        (*own, *greedy_continuations(teacher, [source], [own], eos=END, pad=PAD, max_tokens=LONGEST - len(own))[0])
        for source, own in zip(SOURCES, prefixes, strict=True)
    ]

    assert finished(teacher, prefixes) == slow


def test_what_has_ended_or_is_full_is_left_as_it_is() -> None:
    """Nothing follows an end-of-sequence token, and no text grows over the limit."""
    ended, full = (7, END), (7,) * LONGEST

    assert finished(network("bart", 0), [ended, full, ended, full, ended]) == [ended, full, ended, full, ended]


def test_prefixes_are_rounded_down() -> None:
    """So the end-of-sequence token is not among the first 75 % of even the shortest text."""
    assert [prefix_of((5, 6, END), percent) for percent in (0, 25, 50, 75, 100)] == [(), (), (5,), (5, 6), (5, 6, END)]


def test_more_than_a_text_is_refused() -> None:
    """The message gives the valid range."""
    with pytest.raises(EvaluationError, match="120 % of a text was requested; request 0 to 100"):
        prefix_of((1,), 120)


def test_an_opening_too_few_is_refused() -> None:
    """The message counts both."""
    with pytest.raises(EvaluationError, match="got 5 sources and 1 prefixes"):
        finished(network("bart", 0), [()])
