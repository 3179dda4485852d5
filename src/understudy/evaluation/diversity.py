"""Diversity of a system's texts: the share of n-grams that are distinct. It needs no references.

Axes: N examples, D statistics.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from understudy.evaluation.tally import FloatArray
from understudy.evaluation.words import fitting, tokenizer, words
from understudy.records import Prediction


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
    """Whether some n words in a row occur twice in a text, as in the output of a network that runs in circles."""
    found = _ngrams(words(text.lower()), order)
    return len(set(found)) < len(found)


def _ngrams(tokens: Sequence[str], order: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1)]
