"""Word error rate: the words to change, by how many there should be. Lower is better, and 100 is no upper bound.

Axes: N examples, D statistics.
"""

from collections.abc import Sequence

import numpy as np

from understudy.evaluation.tally import FloatArray
from understudy.records import Prediction


def wer_rows(predictions: Sequence[Prediction]) -> FloatArray:
    """Edits to the closest reference, times 100, and that reference's words, (N, 2).

    The closest is the one with the fewest edits; of several, the longest. Words are what stands between spaces; case
    and punctuation count. The corpus score is all edits over all reference words, so the formula is `ratio`.

    Args:
        predictions: each with at least one reference.
    """
    rows_ND = np.empty((len(predictions), 2))
    for row_D, prediction in zip(rows_ND, predictions, strict=True):
        words = prediction.text.split()
        references = [reference.split() for reference in prediction.references]
        counts = [(word_edits(words, reference), len(reference)) for reference in references]
        edits, length = min(counts, key=lambda count: (count[0], -count[1]))
        row_D[:] = 100 * edits, length
    return rows_ND


def word_edits(words: Sequence[str], reference: Sequence[str]) -> int:
    """The fewest words to insert, delete or replace that turn one list into the other.

    Source: Wagner & Fischer 1974.
    """
    above = list(range(len(reference) + 1))
    for row, word in enumerate(words, start=1):
        current = [row]
        for column, expected in enumerate(reference, start=1):
            replaced = above[column - 1] + (word != expected)
            current.append(min(replaced, above[column] + 1, current[-1] + 1))
        above = current
    return above[-1]
