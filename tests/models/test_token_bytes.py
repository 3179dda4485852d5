from collections.abc import Callable

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast, T5Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from understudy.errors import ModelError
from understudy.models.token_bytes import TokenBytes, byte_characters
from understudy.models.tokenizers import train_tokenizer

TEXTS = ["The Eagle, in São Paulo, costs £20-25 (m²).", "The Mill is near the Eagle", "café, naïve 🙂 世界"]
UNSEEN = "  two spaces,\n a line and 世 é 🙂 Ω"


def byte_level(*, add_prefix_space: bool = False) -> PreTrainedTokenizerBase:
    """As GPT-2's, trained on the sentences."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")  # noqa: S106 - not a secret


def own() -> PreTrainedTokenizerBase:
    """As the package trains them."""
    return train_tokenizer(TEXTS * 3, vocab_size=150)


def llama() -> PreTrainedTokenizerBase:
    """Metaspace, with a piece for each byte that has no text."""
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *"elohwrdA",
        "lo",
        "el",
        "▁h",
    ]
    return LlamaTokenizer(
        vocab={piece: token_id for token_id, piece in enumerate(pieces)},
        merges=[("l", "o"), ("e", "l"), ("▁", "h")],
    )


def old_llama() -> PreTrainedTokenizerBase:
    """The same, as in older files: without a pre-tokenizer, the normalizer replaces spaces."""
    backend = llama().backend_tokenizer
    backend.pre_tokenizer = None
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")  # noqa: S106 - not a secret


def gemma() -> PreTrainedTokenizerBase:
    """The same, split after spaces, of which the normalizer leaves none."""
    backend = llama().backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.normalizer = normalizers.Replace(" ", "▁")
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")  # noqa: S106 - not a secret


def t5() -> PreTrainedTokenizerBase:
    """A unigram model over words that include their space; white space is one space."""
    sbackends = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", -9.0),
        ("▁", -3.0),
        ("▁he", -2.0),
        ("llo", -2.0),
        ("lo", -2.5),
    ]
    return T5Tokenizer(vocab=[*sbackends, *((letter, -5.0) for letter in "helo")], extra_ids=2)


def spelled(tokenizer: PreTrainedTokenizerBase, text: str) -> bytes:
    """The bytes of a text's tokens, special ones left out."""
    token_bytes = TokenBytes(tokenizer)
    return b"".join(
        token_bytes.of(token_id) or b"" for token_id in tokenizer(text, add_special_tokens=False)["input_ids"]
    )


def test_byte_characters_are_those_of_the_library() -> None:
    """All 256 of them."""
    assert byte_characters() == {character: byte for byte, character in bytes_to_unicode().items()}


@pytest.mark.parametrize(
    ("make", "text", "before"),
    [
        (byte_level, UNSEEN, b""),
        (lambda: byte_level(add_prefix_space=True), "The 世", b" "),
        (own, TEXTS[0], b" "),
        (own, "two  spaces\nand 25", b" "),
        (llama, UNSEEN, b""),
        (llama, "hello world 世 é 🙂", b" "),
        (old_llama, "hello world 世 é 🙂", b" "),
        (t5, "hello lo", b" "),
    ],
)
def test_the_tokens_of_a_text_spell_it(make: Callable[[], PreTrainedTokenizerBase], text: str, before: bytes) -> None:
    """Byte for byte, after the space that some tokenizers add before a text."""
    assert spelled(make(), text) == before + text.encode()


@pytest.mark.parametrize("make", [byte_level, own, llama, t5])
def test_an_id_is_found_by_its_bytes(make: Callable[[], PreTrainedTokenizerBase]) -> None:
    """If several ids share them, one of these is found; special tokens are not."""
    tokenizer = make()
    token_bytes = TokenBytes(tokenizer)
    found = {token_id: token_bytes.of(token_id) for token_id in range(len(token_bytes))}

    assert len(token_bytes) == len(tokenizer)
    assert {token_id for token_id, surface in found.items() if surface is None} == set(tokenizer.all_special_ids)
    for surface in filter(None, found.values()):
        token_id = token_bytes.id_of(surface)
        assert token_id is not None
        assert found[token_id] == surface
    assert token_bytes.id_of(b"no such piece") is token_bytes.id_of(b"") is None


def test_of_ids_with_the_same_bytes_the_one_of_text_is_found() -> None:
    """The letter, not its byte; a byte that no text has is found by its own id."""
    tokenizer, token_bytes = llama(), TokenBytes(llama())

    assert token_bytes.id_of(b"A") == tokenizer.convert_tokens_to_ids("A")
    assert token_bytes.of(tokenizer.convert_tokens_to_ids("<0x41>")) == b"A"
    assert token_bytes.id_of(b"\xe4") == tokenizer.convert_tokens_to_ids("<0xE4>")


def test_an_added_token_has_the_bytes_of_its_text() -> None:
    """Its characters are not bytes; a special one has no bytes at all."""
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<é>"), AddedToken("<tool>", special=True)])
    token_bytes = TokenBytes(tokenizer)

    assert token_bytes.of(len(tokenizer) - 2) == "<é>".encode()
    assert token_bytes.of(len(tokenizer) - 1) is None


@pytest.mark.parametrize(
    "text", ["Eagle", " Eagle", "le is", " the Mill", "São", "25", ", in", "²)", "<s>", " ", "  a"]
)
@pytest.mark.parametrize("make", [byte_level, own])
def test_a_first_piece_is_the_one_after_a_character_that_merges_with_nothing(
    make: Callable[[], PreTrainedTokenizerBase], text: str
) -> None:
    """The reference tokenises the text after a bar, which no piece has together with another character."""
    tokenizer = make()
    behind = tokenizer("|" + text, add_special_tokens=False)["input_ids"]
    bar = next(place for place, token_id in enumerate(behind) if tokenizer.convert_ids_to_tokens(token_id)[-1] == "|")

    assert TokenBytes(tokenizer).first_piece(text.encode()) == behind[bar + 1]


@pytest.mark.parametrize("make", [llama, old_llama, gemma])
@pytest.mark.parametrize("text", ["lo", " hello", "hello", "el", " ", "世"])
def test_a_first_piece_of_byte_fallback(make: Callable[[], PreTrainedTokenizerBase], text: str) -> None:
    """Llama 2's tokenizer does not split a text before it looks for pieces; after a line break it does not change."""
    tokenizer = make()
    behind = tokenizer("\n" + text, add_special_tokens=False)["input_ids"]

    assert TokenBytes(tokenizer).first_piece(text.encode()) == behind[behind.index(3 + ord("\n")) + 1]


def test_half_a_character_has_the_longest_piece_it_starts_with() -> None:
    """Three of four bytes are no text; a byte-level tokenizer has pieces for them nevertheless."""
    tokenizer = byte_level()
    token_bytes, half = TokenBytes(tokenizer), "🙂".encode()[:3]
    first = token_bytes.first_piece(half)

    assert first is not None
    assert half.startswith(token_bytes.of(first) or b"no")
    assert not [
        n for n in range(4) if token_bytes.id_of(half[:n]) is not None and n > len(token_bytes.of(first) or b"")
    ]
    assert TokenBytes(own()).first_piece(half) is None


@pytest.mark.parametrize("text", ["\nhello", "  hello", "Ω", "", "   "])
def test_text_that_a_tokenizer_changes_has_no_first_piece(text: str) -> None:
    """T5 replaces a line break by a space and two spaces by one; one letter is not in its vocabulary."""
    assert TokenBytes(t5()).first_piece(text.encode()) is None
    assert TokenBytes(t5()).first_piece(b" hello") == t5().convert_tokens_to_ids("▁he")
    assert TokenBytes(t5()).first_piece(b"llo") == t5().convert_tokens_to_ids("llo")


def test_pieces_that_are_not_bytes_are_refused() -> None:
    """The pieces of BERT do not contain spaces; a slow tokenizer has no backend to inspect."""
    words = Tokenizer(models.WordPiece({"[UNK]": 0, "##a": 1}, unk_token="[UNK]"))  # noqa: S106 - not a secret
    words.pre_tokenizer, words.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()

    with pytest.raises(ModelError, match=r"WordPiece, BertPreTokenizer.*cross_entropy"):
        TokenBytes(PreTrainedTokenizerFast(tokenizer_object=words))
    with pytest.raises(ModelError, match=r"fast tokenizer, and object.*student with another"):
        TokenBytes(object())
