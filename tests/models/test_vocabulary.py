"""Trimmed tokenizers: which tokens are kept, and that every text still encodes."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import transformers as tf
from numpy.typing import NDArray
from tests.models.special_tokenizers import CHAT, byte_fallback, byte_level_of, unigram
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerBase

from understudy.errors import ModelError
from understudy.models.text import encode_sources, set_source_format
from understudy.models.tokenizers import load_tokenizer, train_tokenizer
from understudy.models.vocabulary import kept_tokens, save_trimmed, shared_tokens

TASK = ["the order has a lamp and 2 chairs", "a red lamp, a blue chair", "the chairs are red\n\nand old"]
OTHER = ["Sphinx of black quartz, judge my vow", "über allen Gipfeln ist Ruh", "¿dónde está la biblioteca?"]
SIZES = (0.0, 0.3, 1.0)
"""How much of what the texts use is kept beyond what must be: nothing, a part, all."""


PIECES = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁the", -1.0), ("▁lamp", -1.5), ("▁has", -3.5)]
PIECES += [(piece, -2.5) for piece in ("ch", "air", "▁red", "▁Sphinx", "▁ü", "qu", "old")]
PIECES += [(character, -3.0) for character in "abcdefghijklmnoprstuvwxyz0123456789,.?SGR"]


def own_class(name: str, like: PreTrainedTokenizerBase, **settings: str | list[str]) -> PreTrainedTokenizerBase:
    """A tokenizer of one of transformers' classes, which builds it from pieces and merges, and has its own format."""
    model = json.loads(like.backend_tokenizer.to_str())["model"]
    own: PreTrainedTokenizerBase = getattr(tf, name)(
        vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]], **settings
    )
    return own


KINDS: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    "byte-level": lambda: byte_level_of([*TASK, *OTHER] * 3, vocab_size=420),
    "byte fallback": lambda: byte_fallback([*TASK, *OTHER] * 3, vocab_size=420),
    "unigram": lambda: unigram(("▁Sphinx", -1.0), ("▁order", -1.0)),
    "no fallback": lambda: train_tokenizer([*TASK, *OTHER] * 3, vocab_size=250),
    "GemmaTokenizer": lambda: own_class("GemmaTokenizer", byte_fallback([*TASK, *OTHER] * 3, vocab_size=420)),
    "LlamaTokenizer": lambda: own_class("LlamaTokenizer", byte_fallback([*TASK, *OTHER] * 3, vocab_size=420)),
    "GPT2Tokenizer": lambda: own_class("GPT2Tokenizer", byte_level_of([*TASK, *OTHER] * 3, vocab_size=420)),
    "Qwen2Tokenizer": lambda: own_class("Qwen2Tokenizer", byte_level_of([*TASK, *OTHER] * 3, vocab_size=420)),
    "BartTokenizer": lambda: own_class("BartTokenizer", byte_level_of([*TASK, *OTHER] * 3, vocab_size=420)),
    "NllbTokenizer": lambda: own_class("NllbTokenizer", train_tokenizer([*TASK, *OTHER] * 3, vocab_size=250)),
    "T5Tokenizer": lambda: tf.T5Tokenizer(vocab=PIECES),
    "MBartTokenizer": lambda: tf.MBartTokenizer(vocab=PIECES, src_lang="en_XX", tgt_lang="ro_RO"),
    "PegasusTokenizer": lambda: tf.PegasusTokenizer(vocab=PIECES),
}
UNIGRAMS = ("T5Tokenizer", "MBartTokenizer", "PegasusTokenizer")
EVERY = pytest.mark.parametrize("kind", KINDS)


def counts_of(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> NDArray[np.int64]:
    """How often texts have each id, special tokens included."""
    ids = [token_id for row in tokenizer(texts)["input_ids"] for token_id in row]
    return np.bincount(ids, minlength=max(tokenizer.get_vocab().values()) + 1)


def trimmed(
    tokenizer: PreTrainedTokenizerBase, share: float, folder: Path
) -> tuple[PreTrainedTokenizerBase, list[int]]:
    """The tokenizer with what it must keep and a share of the rest, loaded from its folder, and the old ids."""
    counts = counts_of(tokenizer, TASK)
    fewest = len(kept_tokens(tokenizer, np.zeros_like(counts), vocab_size=10_000, needed=()))
    most = len(kept_tokens(tokenizer, counts, vocab_size=10_000, needed=()))
    kept = kept_tokens(tokenizer, counts, vocab_size=round(fewest + share * (most - fewest)), needed=())
    save_trimmed(tokenizer, kept, folder)
    return load_tokenizer(str(folder)), kept


def random_texts() -> list[str]:
    """Texts of any script, with spaces, line breaks and symbols that need four bytes."""
    draw = random.Random(1)
    ranges = [(32, 127), (32, 127), (9, 14), (0xA0, 0x3000), (0x3000, 0xD800), (0xE000, 0x110000)]
    return [
        "".join(chr(draw.randrange(*draw.choice(ranges))) for _ in range(draw.randrange(1, 30))) for _ in range(300)
    ]


def round_trips(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[str]:
    """What each text becomes."""
    return [tokenizer.decode(row, skip_special_tokens=True) for row in tokenizer(texts)["input_ids"]]


@EVERY
@pytest.mark.parametrize("share", SIZES)
def test_every_text_decodes_as_with_the_whole_tokenizer(kind: str, share: float, tmp_path: Path) -> None:
    """Texts of the task, of other languages, and random ones."""
    whole = KINDS[kind]()
    small, kept = trimmed(whole, share, tmp_path)
    texts = [*TASK, *OTHER, *random_texts()]

    assert len(small) == len(kept) < len(whole)
    assert round_trips(small, texts) == round_trips(whole, texts)


@EVERY
def test_a_text_whose_tokens_are_kept_has_the_same_tokens(kind: str, tmp_path: Path) -> None:
    """So that a trained network reads what it was trained on."""
    whole = KINDS[kind]()
    small, kept = trimmed(whole, 1.0, tmp_path)

    assert [[kept[token_id] for token_id in row] for row in small(TASK)["input_ids"]] == whole(TASK)["input_ids"]
    assert small.convert_ids_to_tokens(range(len(kept))) == whole.convert_ids_to_tokens(kept)
    assert small.special_tokens_map == whole.special_tokens_map
    small.save_pretrained(tmp_path / "again")
    assert load_tokenizer(str(tmp_path / "again")).get_vocab() == small.get_vocab()
    if kind == "MBartTokenizer":  # the template of targets has a language of its own
        rows = [tokenizer(text_target=TASK)["input_ids"] for tokenizer in (small, whole)]
        assert [[kept[token_id] for token_id in row] for row in rows[0]] == rows[1]


@EVERY
def test_tokens_that_no_text_has_are_not_kept(kind: str, tmp_path: Path) -> None:
    """But for special tokens with a use, bytes, characters and the parts of kept tokens."""
    whole = KINDS[kind]()
    small, _ = trimmed(whole, 1.0, tmp_path)
    unused = {"<unused0>", "<|start|>", "<extra_id_7>", "Sphinx", "ĠSphinx", "▁Sphinx", "fra_Latn", "de_DE", "<unk_7>"}

    assert unused & whole.get_vocab().keys()
    assert not unused & small.get_vocab().keys()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"unigram", *UNIGRAMS}])
def test_each_kept_token_can_be_merged_from_kept_tokens(kind: str, tmp_path: Path) -> None:
    """Otherwise it would have a row in the network and never be read or written."""
    whole = KINDS[kind]()
    small, _ = trimmed(whole, 0.3, tmp_path)
    model = json.loads(small.backend_tokenizer.to_str())["model"]
    merged = {first + second for first, second in model["merges"]}
    special = set(small.all_special_tokens) | {token.content for token in small.added_tokens_decoder.values()}

    assert all({first, second, first + second} <= model["vocab"].keys() for first, second in model["merges"])
    assert all(
        piece in merged or len(piece) == 1 or piece.startswith("<0x") for piece in model["vocab"].keys() - special
    )
    assert merged


def test_frequent_tokens_are_kept_before_rare_ones() -> None:
    """Of two tokens for which one place is left, the one that the texts have more often."""
    whole = unigram(("▁lamp", -1.0), ("▁order", -1.0))
    ids = whole.get_vocab()
    counts = np.zeros(len(ids), np.int64)
    counts[[ids["▁lamp"], ids["▁order"]]] = 1, 2
    fewest = len(kept_tokens(whole, 0 * counts, vocab_size=1000, needed=()))
    kept = kept_tokens(whole, counts, vocab_size=fewest + 1, needed=())

    assert ids["▁order"] in kept
    assert ids["▁lamp"] not in kept


def test_the_token_that_is_found_as_a_whole_word_is_kept_without_parts(tmp_path: Path) -> None:
    """As in Llama 3, whose tokenizer looks for a whole word before it merges."""
    whole = byte_level_of(TASK * 3, vocab_size=300)
    plain = json.loads(whole.backend_tokenizer.to_str())
    plain["model"]["ignore_merges"] = True
    plain["model"]["vocab"]["Ġqueue"] = 304
    own = tf.PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(plain)), eos_token="<|end|>")  # noqa: S106
    assert own("a queue")["input_ids"][-1] == 304
    counts = counts_of(own, ["a queue"])
    kept = kept_tokens(own, counts, vocab_size=1000, needed=())
    small = save_trimmed(own, kept, tmp_path)

    assert small.tokenize("a queue") == ["a", "Ġqueue"]
    assert round_trips(small, OTHER) == OTHER


def test_a_number_below_what_must_be_kept_is_refused_with_the_smallest_one() -> None:
    """Which then is enough."""
    whole = KINDS["byte-level"]()
    counts = counts_of(whole, TASK)
    with pytest.raises(
        ModelError, match=r"vocab_size is 200.*256 bytes and characters.*set vocab_size to (\d+)"
    ) as info:
        kept_tokens(whole, counts, vocab_size=200, needed=())
    needed = int(str(info.value).split()[-3])

    assert len(kept_tokens(whole, counts, vocab_size=needed, needed=())) == needed


def test_a_character_that_only_longer_pieces_have_keeps_them(tmp_path: Path) -> None:
    """Without its piece the text would be unknown where it was not."""
    whole = unigram(("▁ünter", -1.0), ("ß", -1.0))
    small, _ = trimmed(whole, 0.0, tmp_path)

    assert round_trips(small, ["ünter ß"]) == ["ünter ß"]


def test_sentinels_among_the_pieces_are_not_kept(tmp_path: Path) -> None:
    """T5's tokenizer.json has them there, and no other piece with their characters."""
    pieces = [*PIECES, *((f"<extra_id_{number}>", 0.0) for number in reversed(range(100)))]
    small, _ = trimmed(tf.T5Tokenizer(vocab=pieces), 1.0, tmp_path)

    assert not [piece for piece in small.get_vocab() if "extra" in piece]


def test_the_tokens_of_a_chat_template_are_kept(tmp_path: Path) -> None:
    """Those that it writes, with the ids of the trimmed tokenizer."""
    whole = byte_level_of(TASK * 3, vocab_size=300, chat=True)
    assert whole.chat_template == CHAT
    set_source_format(whole, "chat")
    small, kept = trimmed(whole, 0.0, tmp_path)
    before, after = (encode_sources(one, TASK, is_encoder_decoder=False) for one in (whole, small))

    assert {"<|start|>", "<|end|>"} <= small.get_vocab().keys()
    assert "<|text|>" not in small.get_vocab()
    assert [small.decode(row) for row in after] == [whole.decode(row) for row in before]
    assert kept[after[0][0]] == whole.convert_tokens_to_ids("<|start|>")


def test_a_student_keeps_the_tokens_of_its_teacher(tmp_path: Path) -> None:
    """In the same order, though other special tokens may have a role."""
    teacher, student = KINDS["byte-level"](), byte_level_of([*TASK, *OTHER] * 3, vocab_size=420, eos="<|pad|>")
    small, _ = trimmed(teacher, 0.5, tmp_path / "teacher")
    own = save_trimmed(student, shared_tokens(student, small), tmp_path / "student")

    assert own.get_vocab() == small.get_vocab()
    assert own.eos_token == "<|pad|>"  # noqa: S105 - not a password


def test_a_student_with_a_special_token_that_its_teacher_dropped_is_refused(tmp_path: Path) -> None:
    """With the token and the way out."""
    teacher, student = KINDS["byte-level"](), byte_level_of([*TASK, *OTHER] * 3, vocab_size=420, eos="<|text|>")
    small, _ = trimmed(teacher, 0.5, tmp_path)

    with pytest.raises(ModelError, match=r"<\|text\|>.*student.vocab_size"):
        shared_tokens(student, small)


def test_other_kinds_of_tokenizers_are_refused() -> None:
    """WordPiece, and BPE whose tokens have an affix."""
    wordpiece = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))  # noqa: S106
    affixed = Tokenizer(models.BPE({"a": 0, "b</w>": 1}, [], end_of_word_suffix="</w>"))
    for backend, found in ((wordpiece, "WordPiece"), (affixed, "</w>")):
        with pytest.raises(ModelError, match=f"{found}.*leave vocab_size out"):
            kept_tokens(
                tf.PreTrainedTokenizerFast(tokenizer_object=backend), np.ones(3, np.int64), vocab_size=9, needed=()
            )
