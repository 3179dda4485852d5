"""METEOR: words matched by form, stem and synonym, with a penalty for each break of the word order.

Matching and formula are nltk's; the synonyms are those of WordNet, which nltk downloads separately.
Axes: N examples.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Protocol, runtime_checkable

import numpy as np
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from understudy.errors import EvaluationError
from understudy.evaluation.scoring import Metric, SystemOutputs, not_prepared
from understudy.evaluation.tally import FloatArray, mean_per_example, ratio
from understudy.records import Prediction


@runtime_checkable
class Synonyms(Protocol):
    """The part of WordNet that METEOR uses."""

    def synsets(self, word: str) -> Sequence[object]:
        """The meanings of a word."""


def meteor_statistics(predictions: Sequence[Prediction], *, synonyms: Synonyms) -> FloatArray:
    """METEOR in percent with the best reference, and a 1 that counts the example, (N, 2).

        METEOR = 100 · P·R / (0.9·P + 0.1·R) · (1 − 0.5 · (chunks / matches)³)

    Texts are tokenised as for BLEU (13a) and lower-cased. The corpus score is the mean over examples.

    Args:
        predictions: each with at least one reference.
        synonyms: from `wordnet`.

    Source: Banerjee & Lavie 2005 (W05-0909); parameters of nltk.
    """
    from nltk.translate.meteor_score import meteor_score

    tokenize = Tokenizer13a()
    scores = [
        meteor_score(
            [tokenize(reference).split() for reference in prediction.references],
            tokenize(prediction.text).split(),
            wordnet=synonyms,
        )
        for prediction in predictions
    ]
    return mean_per_example(100 * np.array(scores, dtype=np.float64))


def wordnet() -> Synonyms:
    """WordNet, read from nltk's data on this machine.

    Raises:
        EvaluationError: if nltk or its WordNet data are missing.
    """
    try:
        from nltk.corpus import wordnet as reader

        reader.ensure_loaded()
    except (ImportError, LookupError):
        raise EvaluationError(
            "metric meteor needs the synonyms of WordNet, which are not on this machine; run "
            "`pip install 'understudy[meteor]'` and `python -m nltk.downloader wordnet` once, or remove meteor from "
            "task.metrics"
        ) from None
    synonyms: Synonyms = reader
    return synonyms


def _statistics(outputs: SystemOutputs, resource: object) -> FloatArray:
    if not isinstance(resource, Synonyms):
        raise not_prepared("meteor")
    return meteor_statistics(outputs.predictions, synonyms=resource)


SETTINGS = {
    "case": "lower", "tok": "13a", "alpha": "0.9", "beta": "3", "gamma": "0.5", "stem": "porter", "wordnet": "3.0",
    "nltk": version("nltk"), "sacrebleu": version("sacrebleu"),
}  # fmt: skip
METEOR = Metric("meteor", "METEOR", _statistics, ratio, SETTINGS, prepare=lambda _context: wordnet())
