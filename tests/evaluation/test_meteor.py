import sys
from collections.abc import Sequence

import nltk
import pytest

from understudy.errors import EvaluationError
from understudy.evaluation.meteor import meteor_statistics
from understudy.evaluation.metrics import METRICS, MetricContext
from understudy.records import Prediction


class NoSynonyms:
    """A language in which every meaning has one word: METEOR by form and stem alone."""

    def synsets(self, word: str) -> Sequence[object]:
        """No other words."""
        return []


def meteor(text: str, *references: str) -> float:
    """One prediction without synonyms, in percent."""
    row_D = meteor_statistics([Prediction("0", "", references, text)], synonyms=NoSynonyms())[0]
    assert row_D[1] == 1
    return float(row_D[0])


def by_hand(*, matches: int, words: int, reference: int, chunks: int) -> float:
    """Banerjee and Lavie's formula with nltk's parameters, from counts one can see."""
    precision, recall = matches / words, matches / reference
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    return 100 * mean * (1 - 0.5 * (chunks / matches) ** 3)


@pytest.mark.parametrize(
    ("text", "reference", "counts"),
    [
        ("the cat sat on a mat", "the cat sat on a mat", {"matches": 6, "words": 6, "reference": 6, "chunks": 1}),
        ("on a mat the cat sat", "the cat sat on a mat", {"matches": 6, "words": 6, "reference": 6, "chunks": 2}),
        ("the cats jumping", "the cat jumped far away", {"matches": 3, "words": 3, "reference": 5, "chunks": 1}),
        ("The dog sat", "the cat sat", {"matches": 2, "words": 3, "reference": 3, "chunks": 2}),
    ],
)
def test_form_stem_and_order_count(text: str, reference: str, counts: dict[str, int]) -> None:
    """Matches and chunks counted by eye give the same score; case does not matter."""
    assert meteor(text, reference) == pytest.approx(by_hand(**counts))


def test_the_best_reference_counts() -> None:
    """A second reference can only help, and an empty text scores nothing."""
    assert meteor("a b c", "x y z", "a b c") == meteor("a b c", "a b c")
    assert meteor("", "a b c") == 0


def test_missing_synonyms_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message gives the commands that install WordNet."""
    monkeypatch.setattr(nltk.data, "path", [])

    with pytest.raises(
        EvaluationError, match=r"WordNet, which are not on this machine; run .*nltk\.downloader wordnet"
    ):
        METRICS["meteor"].prepare(MetricContext())


def test_a_missing_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "nltk.corpus", None)

    with pytest.raises(EvaluationError, match=r"pip install 'understudy\[meteor\]'"):
        METRICS["meteor"].prepare(MetricContext())
