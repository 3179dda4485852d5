"""The teacher completes prefixes of the student's texts: does the teacher's text stay good where the student began it?

Source: Calderon et al. 2023, Fig. 2.
"""

from collections.abc import Sequence

from transformers import PreTrainedModel

from understudy.errors import EvaluationError
from understudy.evaluation.greedy import greedy_continuations
from understudy.progress import NO_PROGRESS, ProgressCallback


def prefix_of(text: Sequence[int], percent: int) -> tuple[int, ...]:
    """The first `percent` % of a text's tokens, rounded down; only 100 % includes the end-of-sequence token.

    Raises:
        EvaluationError: if `percent` is not between 0 and 100.
    """
    if not 0 <= percent <= 100:  # noqa: PLR2004 - percent
        raise EvaluationError(f"a prefix of {percent} % of a text was requested; request 0 to 100")
    return tuple(text[: len(text) * percent // 100])


def complete_prefixes(
    network: PreTrainedModel,
    *,
    sources: Sequence[Sequence[int]],
    prefixes: Sequence[Sequence[int]],
    eos: int,
    pad: int,
    max_tokens: int,
    batch_size: int = 32,
    progress: ProgressCallback = NO_PROGRESS,
) -> list[tuple[int, ...]]:
    """Whole texts: each prefix, followed by the network's greedy continuation.

    Prefixes of one length share a batch, so that none is padded. A prefix that has ended, or has the maximal length,
    is returned as it is.

    Args:
        network: generates the continuations, on its own device.
        sources: token ids in the network's vocabulary.
        prefixes: token ids in the network's vocabulary, without a start token; may be empty.
        eos: the end-of-sequence id.
        pad: fills up sources; masked.
        max_tokens: the longest text in tokens, prefix and end-of-sequence id included.
        batch_size: texts per call; changes speed and memory.
        progress: called with the number of texts that are complete.

    Raises:
        EvaluationError: if there is not one prefix per source.
    """
    if len(sources) != len(prefixes):
        raise EvaluationError(
            f"each source needs one prefix, got {len(sources)} sources and {len(prefixes)} prefixes; give as many"
        )
    texts = [tuple(prefix) for prefix in prefixes]
    unfinished = [i for i, text in enumerate(texts) if len(text) < max_tokens and text[-1:] != (eos,)]
    progress(len(texts) - len(unfinished))
    groups: dict[int, list[int]] = {}
    for index in sorted(unfinished, key=lambda index: -len(sources[index])):
        groups.setdefault(len(texts[index]), []).append(index)
    for length, group in groups.items():
        for start in range(0, len(group), batch_size):
            batch = group[start : start + batch_size]
            continuations = greedy_continuations(
                network,
                [sources[index] for index in batch],
                [texts[index] for index in batch],
                eos=eos,
                pad=pad,
                max_tokens=max_tokens - length,
            )
            for index, continuation in zip(batch, continuations, strict=True):
                texts[index] += continuation
            progress(len(batch))
    return texts
