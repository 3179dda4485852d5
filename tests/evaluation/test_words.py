"""Words and tokenization of texts in any script."""

import pytest
import sacrebleu
from tests.evaluation.scripts import LANGUAGES, copies, task
from tests.evaluation.tallied import tallied

from understudy.evaluation.words import tokenization, words
from understudy.records import Prediction


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat's 1,234 snake_case", ["The", "cat", "s", "1", "234", "snake", "case"]),
        ("订单里有59件书本。", [*"订单里有", "59", *"件书本"]),
        ("हिन्दी भाषा में", ["हिन्दी", "भाषा", "में"]),
        ("مرحبًا بالعالم", ["مرحبًا", "بالعالم"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("e\u0301te\u0301 Привет", ["e\u0301te\u0301", "Привет"]),
        ("!?", []),
    ],
)
def test_words_of_any_script(text: str, expected: list[str]) -> None:
    """Vowel signs and accents stay with their letters; scripts without spaces give single characters."""
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain words", "13a"),
        ("Привет, мир", "13a"),
        ("订单里有59件书本", "zh"),
        ("日本語のテストです", "char"),
        ("คำสั่งซื้อ", "char"),
        ("A long English sentence with 中文 in it", "13a"),
        ("12:30", "13a"),
    ],
)
def test_the_tokenization_follows_the_script(text: str, expected: str) -> None:
    """Most letters decide."""
    assert tokenization([text]) == expected


@pytest.mark.parametrize("metric", ["bleu", "chrf", "rouge", "rouge1", "rouge2", "rougeL", "exact_match"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_perfect_copy_scores_100(language: str, metric: str) -> None:
    """In 200 examples of each language, whatever normal form the copy is written in."""
    for outputs in (copies(task(language), "NFC"), copies(task(language), "NFD")):
        result = tallied(metric, outputs)
        assert result.value() == pytest.approx(100)
        assert "|norm:nfc|" in result.signature


@pytest.mark.parametrize(("language", "kind"), [("chinese", "zh"), ("thai", "char"), ("russian", "13a")])
def test_bleu_is_that_of_sacrebleu_with_the_tokenizer_of_its_signature(language: str, kind: str) -> None:
    """The texts of another example are compared, so that the value is between the ends."""
    examples = task(language, 40)
    outputs = [
        Prediction(a.id, a.source, a.targets, b.targets[0])
        for a, b in zip(examples, examples[1:] + examples[:1], strict=True)
    ]
    expected = sacrebleu.corpus_bleu(
        [one.text for one in outputs], [[one.references[0] for one in outputs]], tokenize=kind
    ).score
    result = tallied("bleu", outputs)

    assert 0 < expected < 100
    assert result.value() == pytest.approx(expected, rel=1e-12)
    assert f"|tok:{kind}|" in result.signature


@pytest.mark.parametrize("kind", ["zh", "char"])
def test_bleu_has_the_tokenizer_that_the_user_names(kind: str) -> None:
    """Whatever the script is."""
    outputs = [Prediction("0", "", ("the cat sat on 桌子 here",), "the cat sat on 木门 here")]
    expected = sacrebleu.corpus_bleu([outputs[0].text], [[outputs[0].references[0]]], tokenize=kind).score
    result = tallied(f"bleu_{kind}", outputs)

    assert result.value() == pytest.approx(expected, rel=1e-12)
    assert f"|tok:{kind}|" in result.signature


def test_word_errors_of_a_script_without_spaces_are_character_errors() -> None:
    """One of eight characters differs."""
    result = tallied("wer", [Prediction("0", "", ("订单里有五件书本",), "订单里有六件书本")])

    assert result.value() == 12.5
    assert "|tok:char|" in result.signature


def test_distinct_bigrams_of_a_script_without_spaces_are_of_characters() -> None:
    """Two equal texts of four characters have three distinct pairs of six."""
    outputs = [Prediction(name, "", ("订单里有",), "订单里有") for name in "ab"]

    assert tallied("distinct_2", outputs).value() == pytest.approx(50)


def test_exact_match_counts_texts_equal_to_a_reference() -> None:
    """White space around them aside; case counts."""
    outputs = [
        Prediction("0", "", ("yes ", "yep"), "yes"),
        Prediction("1", "", ("yes",), "Yes"),
        Prediction("2", "", ("é",), "e\u0301"),
        Prediction("3", "", ("a  b",), "a b"),
    ]

    assert tallied("exact_match", outputs).per_example().tolist() == [100, 0, 100, 0]
