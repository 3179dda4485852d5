import unicodedata
from pathlib import Path

import pytest
from tests.sizes import small
from transformers import PreTrainedTokenizerBase

from understudy.errors import ModelError, VocabularyError
from understudy.models.checkpoint import save_network
from understudy.models.scratch import build_network
from understudy.models.text import decode
from understudy.models.tokenizers import SPECIAL_TOKENS, load_tokenizer, refuse_different_tokens, train_tokenizer


@pytest.mark.parametrize(
    "text",
    [
        "The Eagle, in São Paulo, costs £20-25 (m²).",
        'unseen WORDS; don\'t "merge" -- 3.14159!',
        "two  spaces and\na line",
        "<s>struck out</s> <pad> <unk>",
        "",
    ],
)
def test_decoding_reproduces_the_text(text: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Accents, case, digits, quotes, spaces and the characters of special tokens are preserved."""
    assert decode(tokenizer, tokenizer(text)["input_ids"]) == text


def test_two_encodings_of_a_letter_are_one(tokenizer: PreTrainedTokenizerBase) -> None:
    """A letter followed by a combining accent is the same as the accented letter."""
    composed = "São Paulo"
    apart = unicodedata.normalize("NFD", composed)

    assert apart != composed
    assert tokenizer(apart)["input_ids"] == tokenizer(composed)["input_ids"]


def test_every_digit_is_a_piece(tokenizer: PreTrainedTokenizerBase) -> None:
    """Numbers can be copied digit by digit, also those that the texts repeat."""
    assert [piece for piece in tokenizer.tokenize("costs £20-25") if piece.isdigit()] == ["2", "0", "2", "5"]
    assert not [piece for piece in tokenizer.get_vocab() if any(map(str.isdigit, piece)) and piece not in "0123456789²"]


def test_training_gives_the_same_tokenizer_each_time() -> None:
    """Pieces and ids do not depend on the order of a hash table; the library's unigram trainer fails this test."""
    syllables = ("ka", "lo", "ner", "qu", "str", "ing", "er")
    texts = [f"{a}{b} {b}{c}{a}" for a in syllables for b in syllables for c in syllables]
    first, *others = (train_tokenizer(texts, vocab_size=200).backend_tokenizer.to_str() for _ in range(3))

    assert "string" in first
    assert others == [first, first]


def test_more_characters_than_pieces_are_refused() -> None:
    """The message has both numbers."""
    with pytest.raises(ModelError, match=r"vocab_size is 20, .* 1\d\d different characters"):
        train_tokenizer(["a"], vocab_size=20)


def test_survives_saving_with_a_model(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """Loaded from the folder of a BART it is still this tokenizer, not the class of BART."""
    model = build_network(
        small(width=8, heads=1, feed_forward=8),
        tokenizer,
        max_positions=16,
        seed=0,
    )
    save_network(model, tokenizer, tmp_path)
    loaded = load_tokenizer(str(tmp_path))

    text = "São Paulo </s> 25"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert {name: getattr(loaded, name) for name in SPECIAL_TOKENS} == SPECIAL_TOKENS


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    """The message has the folder and the files it should contain."""
    with pytest.raises(ModelError, match=rf"cannot load a tokenizer from '{tmp_path}'.*tokenizer\.json"):
        load_tokenizer(str(tmp_path))


def test_the_same_tokens_pass(tokenizer: PreTrainedTokenizerBase) -> None:
    """Tokenizers with equal ids for equal tokens are one vocabulary."""
    refuse_different_tokens(tokenizer, tokenizer)


def test_different_tokens_are_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    """The message counts the tokens that differ, shows some with both ids, and names the ways out."""
    other = train_tokenizer(["entirely other words"] * 3, vocab_size=120)
    with pytest.raises(
        VocabularyError, match=r"but \d+ of \d+ tokens .* \(teacher .*, student .*\).*'cross_entropy', or a student"
    ):
        refuse_different_tokens(tokenizer, other)


@pytest.mark.parametrize("architecture", ["t5", "gpt2"])
def test_a_checkpoint_without_tokenizer_files_is_refused(architecture: str, tmp_path: Path) -> None:
    """Transformers makes a tokenizer of the special tokens alone, to which all text is unknown."""
    (tmp_path / "config.json").write_text(f'{{"model_type": "{architecture}"}}')

    with pytest.raises(ModelError, match=r"has no tokenizer files; found none of .*tokenizer\.json"):
        load_tokenizer(str(tmp_path))
