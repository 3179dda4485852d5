"""The confidence of a network in a text that it generated: its probability per token. It is not calibrated."""

import math
from collections.abc import Sequence

from understudy.generation.engine import Engine
from understudy.records import Generated


def confidences(engine: Engine, sources: Sequence[Sequence[int]], texts: Sequence[Generated]) -> list[float]:
    """exp(mean log-probability) of each text, from 0 to 1; 0 for a text without tokens.

    Args:
        engine: that generated the texts; it scores those whose log-probability it did not report.
        sources: token ids of the source of each text.
        texts: as `counted_text` of `models.generated_text` returns them.
    """
    unknown = [i for i, text in enumerate(texts) if text.token_ids and math.isnan(text.logprob)]
    sums = [text.logprob for text in texts]
    scored = engine.score([sources[i] for i in unknown], [texts[i].token_ids for i in unknown])
    for i, logprobs in zip(unknown, scored, strict=True):
        sums[i] = sum(logprobs)
    return [
        math.exp(min(0.0, total / len(text.token_ids))) if text.token_ids else 0.0
        for total, text in zip(sums, texts, strict=True)
    ]
