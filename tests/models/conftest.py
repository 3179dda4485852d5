"""A tokenizer for the tests of this package."""

import pytest
from transformers import PreTrainedTokenizerBase

from understudy.models.tokenizers import train_tokenizer

TEXTS = ["The Eagle, in São Paulo, costs £20-25 (m²).", "The Mill is near the Eagle", "café, naïve"]


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """Trained on three sentences."""
    return train_tokenizer(TEXTS * 3, vocab_size=150)
