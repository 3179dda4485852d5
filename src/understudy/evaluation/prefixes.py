"""The student begins a text and the teacher finishes it: is the teacher a guide where the student leads?

Source: Calderon et al. 2023, Fig. 2.
"""

from collections.abc import Sequence

from transformers import PreTrainedModel

from understudy.errors import EvaluationError
from understudy.evaluation.greedy import write_on
from understudy.progress import NO_PROGRESS, ProgressCallback


def opening(text: Sequence[int], percent: int) -> tuple[int, ...]:
    """The first so many percent of a text's tokens, rounded down; the end-of-sequence token comes with 100 alone.

    Raises:
        EvaluationError: if `percent` is not between 0 and 100.
    """
    if not 0 <= percent <= 100:  # noqa: PLR2004 - percent
        raise EvaluationError(f"{percent} % of a text was asked for; ask for 0 to 100")
    return tuple(text[: len(text) * percent // 100])


def finish(
    network: PreTrainedModel,
    *,
    sources: Sequence[Sequence[int]],
    openings: Sequence[Sequence[int]],
    end: int,
    pad: int,
    max_tokens: int,
    batch_size: int = 32,
    advance: ProgressCallback = NO_PROGRESS,
) -> list[tuple[int, ...]]:
    """Whole texts: each opening, and after it what the network writes greedily.

    Openings of one length share a batch, so that none is padded. An opening that has ended, or is as long as a text
    may be, is left as it is.

    Args:
        network: the one that finishes; on the device it is on.
        sources: token ids as this network reads them.
        openings: token ids in this network's vocabulary, without a start token; empty ones let it write all.
        end: the end-of-sequence id.
        pad: fills up sources; masked.
        max_tokens: the longest text in tokens, opening and end-of-sequence id included.
        batch_size: texts per call; changes speed and memory.
        advance: told how many more texts are whole.

    Raises:
        EvaluationError: if there is not one opening per source.
    """
    if len(sources) != len(openings):
        raise EvaluationError(
            f"each source has one opening, got {len(sources)} sources and {len(openings)} openings; give as many"
        )
    texts = [tuple(opening) for opening in openings]
    unfinished = [i for i, text in enumerate(texts) if len(text) < max_tokens and text[-1:] != (end,)]
    advance(len(texts) - len(unfinished))
    groups: dict[int, list[int]] = {}
    for index in sorted(unfinished, key=lambda index: -len(sources[index])):
        groups.setdefault(len(texts[index]), []).append(index)
    for length, group in groups.items():
        for start in range(0, len(group), batch_size):
            batch = group[start : start + batch_size]
            written = write_on(
                network,
                [sources[index] for index in batch],
                [texts[index] for index in batch],
                end=end,
                pad=pad,
                at_most=max_tokens - length,
            )
            for index, rest in zip(batch, written, strict=True):
                texts[index] += rest
            advance(len(batch))
    return texts
