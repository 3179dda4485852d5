import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer
from tests.evaluation.tallied import tallied

from understudy.evaluation.bootstrap import resample_weights
from understudy.records import Prediction

WORDS = ("the", "cat", "sat", "on", "a", "mat", ",", "running", "very", "cold", ".", "Rain", "snow", "7", "12", "Café")


def some_predictions(
    count: int, *, seed: int, references: tuple[int, int] = (1, 4), words: tuple[int, int] = (0, 12)
) -> list[Prediction]:
    """Random texts with a random number of references, some of them empty."""
    rng = random.Random(seed)

    def text() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(*words)))

    return [
        Prediction(str(index), "source", tuple(text() for _ in range(rng.randint(*references))), text())
        for index in range(count)
    ]


def for_sacrebleu(predictions: Sequence[Prediction]) -> tuple[list[str], list[list[str | None]]]:
    """Texts, and one list of references per slot with None where an example has fewer."""
    most = max(len(prediction.references) for prediction in predictions)
    references = [
        [(*prediction.references, *[None] * most)[slot] for prediction in predictions] for slot in range(most)
    ]
    return [prediction.text for prediction in predictions], references


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize(("name", "reference"), [("bleu", sacrebleu.corpus_bleu), ("chrf", sacrebleu.corpus_chrf)])
def test_scores_are_those_of_sacrebleu(
    name: str, reference: Callable[..., sacrebleu.metrics.base.Score], count: int, seed: int
) -> None:
    """Any number of references per example and empty texts give sacrebleu's digits."""
    predictions = some_predictions(count, seed=seed)
    expected = reference(*for_sacrebleu(predictions)).score

    assert tallied(name, predictions).value() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("name", "reference"), [("bleu", sacrebleu.corpus_bleu), ("chrf", sacrebleu.corpus_chrf)])
def test_resamples_score_as_if_they_were_corpora(
    name: str, reference: Callable[..., sacrebleu.metrics.base.Score]
) -> None:
    """Weighted rows give sacrebleu's score of a corpus with examples repeated and left out."""
    predictions = some_predictions(6, seed=7, words=(0, 6))
    weights_RN = resample_weights(6, resamples=20, seed=0)
    drawn = [[predictions[index] for index in np.repeat(np.arange(6), weights_N)] for weights_N in weights_RN]
    expected_R = [reference(*for_sacrebleu(corpus)).score for corpus in drawn]

    np.testing.assert_allclose(tallied(name, predictions).scores(weights_RN), expected_R, rtol=1e-12)


@pytest.mark.parametrize("text", ["", "cat", "a cat", "the cat sat on", "snow snow snow snow snow"])
def test_bleu_of_short_texts_is_that_of_sacrebleu(text: str) -> None:
    """Missing orders, missing matches and no match at all follow sacrebleu's smoothing."""
    prediction = Prediction("0", "", ("the cat sat on a mat", "a cat"), text)
    expected = sacrebleu.corpus_bleu([text], [["the cat sat on a mat"], ["a cat"]]).score

    assert tallied("bleu", [prediction]).value() == pytest.approx(expected, rel=1e-12)


def test_chrf_of_one_example_is_that_of_a_sentence() -> None:
    """The formula on a single row is sacrebleu's sentence score."""
    predictions = some_predictions(10, seed=3)
    expected = [sacrebleu.sentence_chrf(prediction.text, prediction.references).score for prediction in predictions]

    np.testing.assert_allclose(tallied("chrf", predictions).per_example(), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["rouge1", "rouge2", "rougeL"])
def test_rouge_takes_the_best_reference(kind: str) -> None:
    """Each example counts with its best F1 over references, and the score is their mean; English as in rouge-score."""
    predictions = some_predictions(20, seed=4, words=(4, 12))
    scorer = RougeScorer([kind], use_stemmer=True)
    best = [
        max(scorer.score(reference, prediction.text)[kind].fmeasure for reference in prediction.references)
        for prediction in predictions
    ]

    assert tallied(kind, predictions).value() == pytest.approx(100 * np.mean(best))


def test_rouge_is_the_mean_of_three() -> None:
    """Without a number, ROUGE is the mean of ROUGE-1, ROUGE-2 and ROUGE-L."""
    predictions = some_predictions(20, seed=5, words=(4, 12))
    three = [tallied(kind, predictions).value() for kind in ("rouge1", "rouge2", "rougeL")]

    assert tallied("rouge", predictions).value() == pytest.approx(np.mean(three))


def test_rouge_stems_words() -> None:
    """An inflected word matches its stem."""
    prediction = Prediction("0", "", ("the cats jumped",), "the cat jumps")

    assert tallied("rouge1", [prediction]).value() == 100


def test_rouge_averages_the_orders_that_exist() -> None:
    """One word has no pair of words: ROUGE leaves ROUGE-2 out, and ROUGE-2 leaves the example out."""
    word = Prediction("0", "", ("yes",), "yes")
    pair = Prediction("1", "", ("the cat",), "a cat")

    assert tallied("rouge", [word]).value() == 100
    assert tallied("rouge2", [word, pair]).value() == tallied("rouge2", [pair]).value() == 0
    assert tallied("rouge", [word, pair]).value() == pytest.approx((100 + (50 + 0 + 50) / 3) / 2)


def test_rouge_of_english_is_that_of_rouge_score() -> None:
    """Punctuation, digits, capitals and inflections of ASCII texts give its digits."""
    rng = random.Random(8)
    characters = "abcXYZ019 -_'.,!running flies "
    texts = ["".join(rng.choices(characters, k=80)) for _ in range(40)]
    predictions = [Prediction(str(at), "", (texts[at],), texts[at + 20]) for at in range(20)]
    kinds = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(kinds, use_stemmer=True)
    expected = [
        np.mean([scorer.score(one.references[0], one.text)[kind].fmeasure for kind in kinds]) for one in predictions
    ]

    np.testing.assert_allclose(tallied("rouge", predictions).per_example(), 100 * np.array(expected), rtol=1e-12)
