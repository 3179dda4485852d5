"""METEOR: words matched by form, stem and synonym, with a price for every break of the order.

Matching and formula are nltk's; synonyms are WordNet's, which nltk does not bring along.
"""

from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from understudy.errors import EvaluationError
from understudy.evaluation.tally import FloatArray
from understudy.records import Prediction


class Synonyms(Protocol):
    """WordNet, as far as METEOR asks it."""

    def synsets(self, word: str) -> Sequence[object]:
        """The meanings of a word."""


def meteor_rows(predictions: Sequence[Prediction], *, synonyms: Synonyms | None = None) -> FloatArray:
    """METEOR in percent with the best reference, and a one to count the example, (N, 2).

        METEOR = 100 · P·R / (0.9·P + 0.1·R) · (1 − 0.5 · (chunks / matches)³)

    TokenArrays are tokenised as for BLEU (13a) and lower-cased. The corpus score is the mean over examples.

    Args:
        predictions: each with at least one reference.
        synonyms: None: WordNet.

    Raises:
        EvaluationError: if nltk or its WordNet data are not on this machine.

    Source: Banerjee & Lavie 2005 (W05-0909); parameters of nltk.
    """
    known = synonyms or wordnet()
    from nltk.translate.meteor_score import meteor_score

    tokenize = Tokenizer13a()
    rows_ND = np.ones((len(predictions), 2))
    for row_D, prediction in zip(rows_ND, predictions, strict=True):
        references = [tokenize(reference).split() for reference in prediction.references]
        row_D[0] = 100 * meteor_score(references, tokenize(prediction.text).split(), wordnet=known)
    return rows_ND


def wordnet() -> Synonyms:
    """WordNet, read from nltk's data on this machine.

    Raises:
        EvaluationError: if it is not there.
    """
    try:
        from nltk.corpus import wordnet as reader

        reader.ensure_loaded()
    except (ImportError, LookupError):
        raise EvaluationError(
            "meteor matches synonyms of WordNet, which is not on this machine; run `pip install 'understudy[meteor]'` "
            "and `python -m nltk.downloader wordnet` once, or leave the metric out"
        ) from None
    return cast(Synonyms, reader)
