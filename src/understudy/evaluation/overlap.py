"""Overlap with references: BLEU, chrF and ROUGE, as statistics per example and a formula on their sum.

Tokenisation and counting are those of sacrebleu and rouge-score; only the last step, from summed statistics to a score,
is implemented here, for all resamples at once. All scores lie between 0 and 100.
Axes: N examples, D statistics, R resamples, O n-gram orders.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer
from sacrebleu.metrics import BLEU, CHRF

from understudy.evaluation.tally import FloatArray
from understudy.evaluation.words import Tokenization, fitting, words
from understudy.records import Prediction

BLEU_ORDERS = 4
CHRF_BETA = 2
ROUGE_WORDS = {"rouge1": 1, "rouge2": 2, "rougeL": 1}
"""Words that a reference needs for each kind of ROUGE."""
ENGLISH = DefaultTokenizer(use_stemmer=True)


def bleu_statistics(predictions: Sequence[Prediction], *, tokenize: Tokenization | None = None) -> FloatArray:
    """Length of the text, closest length of a reference, matches by order, n-grams by order, (N, 10).

    Args:
        predictions: each with at least one reference.
        tokenize: a tokenizer of sacrebleu; None: the one that fits the references.
    """
    return _sacrebleu_statistics(BLEU(force=True, tokenize=tokenize or fitting(predictions)), predictions)


def bleu(sums_RD: FloatArray) -> FloatArray:
    """The BLEU of each sum of `bleu_statistics`, (R,), with sacrebleu's exponential smoothing.

        BLEU = 100 · exp(min(0, 1 − reference length / length)) · exp(mean over orders of log precision)

    The k-th order without a match counts as 2⁻ᵏ matches. No match at all, or no n-gram of some order, is 0.

    Source: Papineni et al. 2002, §2.3; Post 2018 (arXiv:1804.08771).
    """
    length_R, reference_length_R = sums_RD[:, 0], sums_RD[:, 1]
    matches_RO, ngrams_RO = sums_RD[:, 2 : 2 + BLEU_ORDERS], sums_RD[:, 2 + BLEU_ORDERS :]
    defined_R = matches_RO.any(axis=1) & ngrams_RO.all(axis=1)
    unmatched_RO = matches_RO == 0
    smoothed_RO = np.where(unmatched_RO, 0.5 ** unmatched_RO.cumsum(axis=1), matches_RO)
    precision_RO = np.divide(smoothed_RO, ngrams_RO, out=np.ones_like(smoothed_RO), where=ngrams_RO > 0)
    shortfall_R = 1 - reference_length_R / np.maximum(length_R, 1)
    brevity_R = np.exp(np.minimum(0, shortfall_R))
    return np.where(defined_R, 100 * brevity_R * np.exp(np.log(precision_RO).mean(axis=1)), 0.0)


def chrf_statistics(predictions: Sequence[Prediction]) -> FloatArray:
    """Character n-grams of the text, of its best reference, and shared, for orders 1 to 6, (N, 18)."""
    return _sacrebleu_statistics(CHRF(beta=CHRF_BETA), predictions)


def chrf(sums_RD: FloatArray) -> FloatArray:
    """The chrF of each sum of `chrf_statistics`, (R,): F₂ of the precision and recall averaged over orders.

    Orders for which the text or the reference is too short are left out.

    Source: Popović 2015 (W15-3049); Post 2018 (arXiv:1804.08771).
    """
    ngrams_RO, reference_RO, shared_RO = np.moveaxis(sums_RD.reshape(len(sums_RD), -1, 3), 2, 0)
    used_RO = (ngrams_RO > 0) & (reference_RO > 0)
    orders_R = np.maximum(used_RO.sum(axis=1), 1)
    precision_RO = np.divide(shared_RO, ngrams_RO, out=np.zeros_like(shared_RO), where=used_RO)
    recall_RO = np.divide(shared_RO, reference_RO, out=np.zeros_like(shared_RO), where=used_RO)
    precision_R, recall_R = precision_RO.sum(axis=1) / orders_R, recall_RO.sum(axis=1) / orders_R
    numerator_R = (1 + CHRF_BETA**2) * precision_R * recall_R
    denominator_R = CHRF_BETA**2 * precision_R + recall_R
    score_R: FloatArray = np.divide(
        100 * numerator_R, denominator_R, out=np.zeros_like(numerator_R), where=denominator_R > 0
    )
    return score_R


def rouge_statistics(predictions: Sequence[Prediction], *, kinds: Sequence[str]) -> FloatArray:
    """F1 in percent, averaged over the kinds of ROUGE, and a 1 that counts the example, (N, 2).

    Words are those of `words`, in lower case; those in ASCII are stemmed, which for English gives rouge-score's own
    words. Of several references the best counts, for each kind on its own. A kind whose n-grams no reference of an
    example has (ROUGE-2 of one word) is left out of the example's average, and an example without any kind is left out
    of the corpus. The corpus score is the mean over examples, so the formula is `ratio`.

    Args:
        predictions: each with at least one reference.
        kinds: names of rouge-score: "rouge1", "rouge2", "rougeL".

    Source: Lin 2004 (W04-1013), §2 and §3.1.
    """
    scorer = RougeScorer(list(kinds), tokenizer=_StemmedWords())
    statistics_ND = np.zeros((len(predictions), 2))
    for row_D, prediction in zip(statistics_ND, predictions, strict=True):
        longest = max(len(words(reference)) for reference in prediction.references)
        defined = [kind for kind in kinds if longest >= ROUGE_WORDS[kind]]
        if defined:
            best = scorer.score_multi(prediction.references, prediction.text)
            row_D[:] = 100 * sum(best[kind].fmeasure for kind in defined) / len(defined), 1
    return statistics_ND


class _StemmedWords:
    """The tokenizer that rouge-score calls."""

    def tokenize(self, text: str) -> list[str]:
        """The words in lower case, those in ASCII by their stems."""
        return [_stem(word) for word in words(text.lower())]


@lru_cache(maxsize=2**16)
def _stem(word: str) -> str:
    return str(ENGLISH.tokenize(word)[0]) if word.isascii() else word


def _sacrebleu_statistics(scorer: BLEU | CHRF, predictions: Sequence[Prediction]) -> FloatArray:
    """The counts of sacrebleu for each example; None stands for a reference that an example lacks."""
    texts = [prediction.text for prediction in predictions]
    references = list(zip_longest(*(prediction.references for prediction in predictions)))
    # sacrebleu's statistics are private, but counting n-grams again would be a second implementation to keep equal.
    rows = scorer._extract_corpus_statistics(texts, references)  # noqa: SLF001
    return np.array(rows, dtype=np.float64)
