"""Overlap with references: BLEU, chrF, ROUGE, as rows of statistics and a formula on their sum.

Tokenisation and counting are sacrebleu's and rouge-score's; only the last step from summed statistics to
a score is written here, over all resamples at once. All scores lie between 0 and 100.
Axes: N examples, D statistics, R resamples, O n-gram orders.
"""

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from understudy.evaluation.tally import FloatArray
from understudy.records import Prediction

BLEU_ORDERS = 4
CHRF_BETA = 2


def bleu_rows(predictions: Sequence[Prediction]) -> FloatArray:
    """Length of the text, closest length of a reference, matches by order, n-grams by order, (N, 10)."""
    return _sacrebleu_rows(BLEU(force=True), predictions)


def bleu(sums_RD: FloatArray) -> FloatArray:
    """The BLEU of each sum of `bleu_rows`, (R,), with sacrebleu's exponential smoothing.

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


def chrf_rows(predictions: Sequence[Prediction]) -> FloatArray:
    """Character n-grams of the text, of its best reference, and shared, for orders 1 to 6, (N, 18)."""
    return _sacrebleu_rows(CHRF(beta=CHRF_BETA), predictions)


def chrf(sums_RD: FloatArray) -> FloatArray:
    """The chrF of each sum of `chrf_rows`, (R,): F₂ of the precision and recall averaged over orders.

    Orders which the text or the reference is too short for take no part.

    Source: Popović 2015 (W15-3049); Post 2018 (arXiv:1804.08771).
    """
    ngrams_RO, reference_RO, shared_RO = np.moveaxis(sums_RD.reshape(len(sums_RD), -1, 3), 2, 0)
    used_RO = (ngrams_RO > 0) & (reference_RO > 0)
    orders_R = np.maximum(used_RO.sum(axis=1), 1)
    precision_RO = np.divide(shared_RO, ngrams_RO, out=np.zeros_like(shared_RO), where=used_RO)
    recall_RO = np.divide(shared_RO, reference_RO, out=np.zeros_like(shared_RO), where=used_RO)
    precision_R, recall_R = precision_RO.sum(axis=1) / orders_R, recall_RO.sum(axis=1) / orders_R
    top_R, bottom_R = (1 + CHRF_BETA**2) * precision_R * recall_R, CHRF_BETA**2 * precision_R + recall_R
    score_R: FloatArray = np.divide(100 * top_R, bottom_R, out=np.zeros_like(top_R), where=bottom_R > 0)
    return score_R


def rouge_rows(predictions: Sequence[Prediction], *, kinds: Sequence[str]) -> FloatArray:
    """F1 in percent, averaged over the kinds of ROUGE, and a one to count the example, (N, 2).

    Words are stemmed; of several references the best counts, for each kind on its own. The corpus score
    is the mean over examples, so the formula is `ratio`.

    Args:
        predictions: each with at least one reference.
        kinds: names rouge-score knows: "rouge1", "rouge2", "rougeL".

    Source: Lin 2004 (W04-1013), §2 and §3.1.
    """
    scorer = RougeScorer(list(kinds), use_stemmer=True)
    rows_ND = np.ones((len(predictions), 2))
    for row_D, prediction in zip(rows_ND, predictions, strict=True):
        best = scorer.score_multi(prediction.references, prediction.text)
        row_D[0] = 100 * sum(best[kind].fmeasure for kind in kinds) / len(kinds)
    return rows_ND


def _sacrebleu_rows(scorer: BLEU | CHRF, predictions: Sequence[Prediction]) -> FloatArray:
    """What sacrebleu counts in each example; None marks a place an example has no reference for."""
    texts = [prediction.text for prediction in predictions]
    references = list(zip_longest(*(prediction.references for prediction in predictions)))
    # Its statistics are behind an underscore, but counting n-grams again would be a second truth beside it.
    rows = scorer._extract_corpus_statistics(texts, references)  # noqa: SLF001
    return np.array(rows, dtype=np.float64)
