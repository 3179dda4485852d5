"""Exact match, and word error rate: word edits per reference word, where lower is better and 100 is no upper bound.

Axes: N examples, D statistics.
"""

from collections.abc import Sequence

import numpy as np

from understudy.evaluation.tally import FloatArray, mean_per_example
from understudy.evaluation.words import fitting
from understudy.records import Prediction


def exact_match_statistics(predictions: Sequence[Prediction]) -> FloatArray:
    """100 where the text is equal to a reference, apart from white space around them, and a 1 that counts, (N, 2)."""
    equal = [one.text.strip() in {reference.strip() for reference in one.references} for one in predictions]
    return mean_per_example(100 * np.array(equal, dtype=np.float64))


def wer_statistics(predictions: Sequence[Prediction]) -> FloatArray:
    """Edits to the closest reference, times 100, and the number of words of that reference, (N, 2).

    The closest reference is the one with the fewest edits; of several, the longest. Words are separated by white space;
    in scripts without spaces each character is one. Case and punctuation count. The corpus score is all edits divided
    by all reference words, so the formula is `ratio`.

    Args:
        predictions: each with at least one reference.
    """
    statistics_ND = np.empty((len(predictions), 2))
    split = str.split if wer_unit(predictions) == "none" else _characters
    for row_D, prediction in zip(statistics_ND, predictions, strict=True):
        words = split(prediction.text)
        references = [split(reference) for reference in prediction.references]
        counts = [(word_edits(words, reference), len(reference)) for reference in references]
        edits, length = min(counts, key=lambda count: (count[0], -count[1]))
        row_D[:] = 100 * edits, length
    return statistics_ND


def wer_unit(predictions: Sequence[Prediction]) -> str:
    """The tokenization of WER in its signature: none for words between white space, char for single characters."""
    return "none" if fitting(predictions) == "13a" else "char"


def _characters(text: str) -> list[str]:
    return [character for character in text if not character.isspace()]


def word_edits(words: Sequence[str], reference: Sequence[str]) -> int:
    """The fewest insertions, deletions and replacements of words that turn one list into the other.

    Source: Wagner & Fischer 1974.
    """
    previous = list(range(len(reference) + 1))
    for row, word in enumerate(words, start=1):
        current = [row]
        for column, expected in enumerate(reference, start=1):
            replaced = previous[column - 1] + (word != expected)
            current.append(min(replaced, previous[column] + 1, current[-1] + 1))
        previous = current
    return previous[-1]
