"""Compares two engines of one network: log-probabilities of given texts, and short generated texts.

A conversion that reads a checkpoint's config differently than transformers does generates other texts without an
error, so every conversion is compared with the network that it was made from.
"""

import math
import random
from collections.abc import Sequence

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from understudy.config.decoding import Greedy
from understudy.generation.engine import Engine
from understudy.models.checkpoint import max_positions

TOLERANCE = 0.01
"""Largest difference in nats per token. Right conversions differ by up to 0.0001, wrong ones by more than 1."""
_PROBE_SOURCES = (1, 6, 6, 24)
"""Lengths in tokens: with padding in the batch, and long enough for the attention to matter."""
_PROBE_TARGET = 8
PROBE_POSITIONS = max(_PROBE_SOURCES) + _PROBE_TARGET + 1
"""Positions of the longest source with its target and an end-of-sequence token."""

ProbeTexts = tuple[list[list[int]], list[list[int]]]


def random_probe(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> ProbeTexts:
    """Sources and targets of random tokens, the same at each call: they need no text of a task."""
    known = set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids)
    ids = sorted(known) or list(range(len(tokenizer)))
    rng = random.Random(0)
    end = [tokenizer.eos_token_id] if config.is_encoder_decoder and tokenizer.eos_token_id is not None else []
    room = (max_positions(config) or 2 * sum(_PROBE_SOURCES)) - _PROBE_TARGET - len(end)
    sources = [[*rng.choices(ids, k=max(1, min(length, room))), *end] for length in _PROBE_SOURCES]
    return sources, [rng.choices(ids, k=_PROBE_TARGET) for _ in sources]


def largest_gap(expected: Sequence[Sequence[float]], found: Sequence[Sequence[float]]) -> float:
    """The largest difference between log-probabilities of the same tokens, in nats; nan counts as infinite."""
    gaps = [abs(a - b) for one, other in zip(expected, found, strict=True) for a, b in zip(one, other, strict=True)]
    return max((math.inf if math.isnan(gap) else gap for gap in gaps), default=0.0)


def different_texts(
    original: Engine,
    converted: Engine,
    sources: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    tolerance: float = TOLERANCE,
) -> int:
    """For how many sources two engines generate different greedy texts.

    Texts that first differ in a token which is as probable for the original (within `tolerance`, in nats) are equal.
    """
    pairs = [
        [texts[0].token_ids for texts in engine.generate(sources, Greedy(), max_tokens=max_tokens)]
        for engine in (original, converted)
    ]
    different = 0
    for source, own, other in zip(sources, *pairs, strict=True):
        if own == other:
            continue
        at = next((i for i, (a, b) in enumerate(zip(own, other, strict=False)) if a != b), min(len(own), len(other)))
        if at == len(own) or at == len(other):
            different += 1
        else:
            scores = original.score([source, source], [own, other])
            different += abs(scores[0][at] - scores[1][at]) > tolerance
    return different
