"""Word error rate: word edits per reference word. Lower is better, and 100 is no upper bound.

Axes: N examples, D statistics.
"""

from collections.abc import Sequence

import numpy as np

from understudy.evaluation.tally import FloatArray
from understudy.records import Prediction


def wer_statistics(predictions: Sequence[Prediction]) -> FloatArray:
    """Edits to the closest reference, times 100, and the number of words of that reference, (N, 2).

    The closest reference is the one with the fewest edits; of several, the longest. Words are separated by white space;
    case and punctuation count. The corpus score is all edits divided by all reference words, so the formula is `ratio`.

    Args:
        predictions: each with at least one reference.
    """
    statistics_ND = np.empty((len(predictions), 2))
    for row_D, prediction in zip(statistics_ND, predictions, strict=True):
        words = prediction.text.split()
        references = [reference.split() for reference in prediction.references]
        counts = [(word_edits(words, reference), len(reference)) for reference in references]
        edits, length = min(counts, key=lambda count: (count[0], -count[1]))
        row_D[:] = 100 * edits, length
    return statistics_ND


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
