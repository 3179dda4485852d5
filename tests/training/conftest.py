"""Tiny networks, and a mixture of texts of random token ids."""

from collections.abc import Callable

import numpy as np
import pytest
from tests.sizes import small
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.model_sections import Architecture
from understudy.models.scratch import build_network
from understudy.models.tokenizers import train_tokenizer
from understudy.pool.token_arrays import Targets, TokenArrays
from understudy.training.mixture import Mixture

EOS = 2
INPUTS, GOLD, K = 8, 4, 3
Build = Callable[..., PreTrainedModel]


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer of bytes with hardly any merges."""
    return train_tokenizer(["a b c"], vocab_size=110)


@pytest.fixture(scope="session")
def build(tokenizer: PreTrainedTokenizerBase) -> Build:
    """Builds a network with one layer per side and hidden width 16."""

    def network(architecture: Architecture = "bart", *, dropout: float = 0.0, seed: int = 0) -> PreTrainedModel:
        return build_network(
            small(architecture, dropout=dropout),
            tokenizer,
            max_positions=32,
            seed=seed,
        )

    return network


@pytest.fixture(scope="session")
def mixture(tokenizer: PreTrainedTokenizerBase) -> Mixture:
    """Eight sources, four of them with a gold target, each with three teacher texts."""
    rng = np.random.default_rng(0)

    def text() -> list[int]:
        return [*rng.integers(4, len(tokenizer), rng.integers(2, 7)).tolist(), EOS]

    return Mixture(
        sources=TokenArrays.of([text() for _ in range(INPUTS)]),
        targets={
            "gold": Targets.of([[text()] if source < GOLD else [] for source in range(INPUTS)]),
            "teacher": Targets.of([[text() for _ in range(K)] for _ in range(INPUTS)]),
        },
        shares={"gold": 1.0, "teacher": 1.0},
        inputs=np.arange(INPUTS),
        targets_per_source=K,
    )
