from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.errors import ConfigError, GenerationError
from understudy.generation import open_engine, supported

Network = Callable[[str], PreTrainedModel]


@pytest.mark.parametrize(
    ("family", "engine"), [("bart", "ctranslate2"), ("llama", "ctranslate2"), ("llama-3", "hf"), ("marian", "hf")]
)
def test_auto_takes_the_fast_engine_where_it_is_right(
    family: str, engine: str, *, network: Network, tokenizer: PreTrainedTokenizerBase
) -> None:
    """CTranslate2 for the families it writes exactly, transformers for the others."""
    model = network(family)
    with open_engine("auto", model, tokenizer) as opened:
        assert opened.name == engine
    assert supported(model) == (engine == "ctranslate2")


@pytest.mark.parametrize(("family", "found"), [("marian", "'marian'"), ("llama-3", "'llama' .* 'llama3' rotary")])
def test_what_ctranslate2_gets_wrong_is_refused(
    family: str, found: str, *, network: Network, tokenizer: PreTrainedTokenizerBase
) -> None:
    """The message says what the network is and which engine would work."""
    with (
        pytest.raises(GenerationError, match=rf"{found}.*engine 'hf' would work"),
        open_engine("ctranslate2", network(family), tokenizer),
    ):
        pass


def test_an_unknown_engine_is_answered_with_the_known(network: Network, tokenizer: PreTrainedTokenizerBase) -> None:
    """The names that would do stand in the message."""
    with (
        pytest.raises(ConfigError, match="unknown engine 'vllm'; known: auto, ctranslate2, hf"),
        open_engine("vllm", network("bart"), tokenizer),  # type: ignore[arg-type]
    ):
        pass


def test_threads_are_lent(network: Network, tokenizer: PreTrainedTokenizerBase) -> None:
    """Torch has its own number of threads again afterwards."""
    before = torch.get_num_threads()
    with open_engine("hf", network("bart"), tokenizer, threads=before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
