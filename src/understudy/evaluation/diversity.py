"""Diversity of a system's texts: the share of n-grams that are distinct, and texts that repeat. It needs no references.

Axes: N examples, D statistics; C characters of a text.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from understudy.evaluation.tally import FloatArray
from understudy.evaluation.words import fitting, tokenizer, words
from understudy.records import Prediction

LONGEST_PERIOD = 12
"""Characters of the longest unit whose repetition counts as a loop."""
TIMES = 2.5
"""How often a unit occurs in a row in a loop: `,000,000` has no loop."""
SHORTEST_LOOP = 7
"""Characters of a loop, so that the zeros of a million are none."""
LOOPING = 16
"""Characters within loops from which a text repeats, if they are half of it."""


def distinct_statistics(predictions: Sequence[Prediction], *, order: int) -> FloatArray:
    """An example's share of the corpus's distinct n-grams, times 100, and its number of n-grams, (N, 2).

    Distinct-n is the number of different n-grams divided by the number of all n-grams. It is no sum over examples: a
    resample repeats some examples and therefore has fewer different n-grams than a real corpus of its size, and the
    plain bootstrap interval lies below the value. These statistics are the delete-one linearisation: an example is
    credited with the n-grams that occur in no other example, and with an equal part of the rest. The sum is exact, and
    resampling gives the jackknife's variance.

    Args:
        predictions: texts are tokenised as for BLEU, case is kept.
        order: n.

    Source: Li et al. 2016, §5.4 (arXiv:1510.03055); Efron & Stein 1981 for the variance.
    """
    tokenize = tokenizer(fitting(predictions))
    ngrams = [_ngrams(tokenize(prediction.text), order) for prediction in predictions]
    examples_with = Counter(ngram for own in ngrams for ngram in set(own))
    unique_N = np.array([sum(examples_with[ngram] == 1 for ngram in set(own)) for own in ngrams], dtype=np.float64)
    shared = (len(examples_with) - unique_N.sum()) / len(predictions)
    return np.stack([100 * (unique_N + shared), [len(own) for own in ngrams]], axis=1)


def repeats(text: str, *, order: int = 4) -> bool:
    """Whether a text repeats itself, as the output of a network that runs in circles.

    It does if some n words in a row occur twice, or if loops cover half of it and at least `LOOPING` characters. A loop
    is a unit of up to `LONGEST_PERIOD` characters that occurs `TIMES` times in a row: it may be within one word
    (`UUUUUUUUUUUUUUUU`), of fewer than n words, or in a script without spaces.
    """
    text = text.strip().lower()
    found = _ngrams(words(text), order)
    return len(set(found)) < len(found) or _looping(text) >= max(LOOPING, len(text) / 2)


def _looping(text: str) -> int:
    """How many characters of a text are within loops."""
    text_C = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    in_loop_C = np.zeros(len(text_C), dtype=np.bool_)
    for period in range(1, min(LONGEST_PERIOD, len(text_C) - 1) + 1):
        # A run of n characters that equal the one a period later is a loop of n + period characters.
        equal = np.pad(text_C[period:] == text_C[:-period], 1).astype(np.int8)
        starts, ends = np.flatnonzero(np.diff(equal) == 1), np.flatnonzero(np.diff(equal) == -1) + period
        for loop in np.flatnonzero(ends - starts >= max(TIMES * period, SHORTEST_LOOP)):
            in_loop_C[starts[loop] : ends[loop]] = True
    return int(in_loop_C.sum())


def _ngrams(tokens: Sequence[str], order: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1)]
