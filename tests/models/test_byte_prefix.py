"""Each token of a teacher becomes the longest token of the student that it begins with."""

import random

import numpy as np
import pytest
from tests.models.special_tokenizers import byte_fallback, byte_level, unigram
from tests.models.test_token_bytes import llama, own
from transformers import PreTrainedTokenizerBase

from understudy.models import byte_prefix
from understudy.models.byte_prefix import BytePrefixMap, byte_prefix_map
from understudy.models.token_bytes import TokenBytes
from understudy.models.tokenizers import train_tokenizer

TEXTS = ["In 2024, 1,250 people", "世界 is 世 and 界", "🙂🙃 and 🙂", "a café"]


def longest_prefix(surface: bytes, student: list[bytes | None], rest: int) -> int:
    """By a look at every token of the student, the first of several with the same bytes."""
    found = [(len(token), -index) for index, token in enumerate(student) if token and surface.startswith(token)]
    return -max(found)[1] if found else rest


def random_vocabulary(size: int, seed: int) -> list[bytes | None]:
    """Short tokens of three letters, every fifth without bytes, some of them twice."""
    rng = random.Random(seed)
    words = [bytes(rng.choices(b"abc", k=rng.randint(1, 4))) for _ in range(size)]
    return [None if index % 5 == 0 else word for index, word in enumerate(words)]


@pytest.mark.parametrize("seed", range(6))
def test_the_maps_are_those_of_a_loop_over_all_tokens(seed: int) -> None:
    """At the beginning of a token, within one, and after the first bytes of a student's token."""
    teacher, student = random_vocabulary(60, seed), random_vocabulary(25, seed + 100)
    tokens = BytePrefixMap(teacher, student, {0: 5})
    rest = len(student)

    expected = [longest_prefix(surface or b"", student, rest) for surface in teacher]
    assert tokens.whole.tolist() == [5, *expected[1:]]
    for before in (b"a", b"b", b"ca", b"bcb", b"zz"):
        within = tokens.within(before)
        assert dict(zip(within.teacher_ids.tolist(), within.student_ids.tolist(), strict=True)) == {
            index: longest_prefix(surface[len(before) :], student, rest)
            for index, surface in enumerate(teacher)
            if surface and surface.startswith(before)
        }
        following = tokens.following(before)
        moved = dict(zip(following.teacher_ids.tolist(), following.student_ids.tolist(), strict=True))
        assert [moved.get(index, following.others) for index in range(len(teacher))] == [
            longest_prefix(before + (surface or b""), student, rest) for surface in teacher
        ]


@pytest.mark.parametrize("make", [byte_level, own, llama, unigram])
def test_equal_tokenizers_have_the_identity(make: object) -> None:
    """Also for special tokens, and for a letter and the byte that is the same letter."""
    tokens = byte_prefix_map(make(), make())  # type: ignore[operator]

    assert tokens.whole.tolist() == list(range(len(make())))  # type: ignore[operator]


def tokenizers() -> list[PreTrainedTokenizerBase]:
    """One of each kind, of which none has the others' pieces."""
    return [byte_level(), own(), byte_fallback(TEXTS, vocab_size=320)]


@pytest.mark.parametrize("first", range(3))
@pytest.mark.parametrize("second", range(3))
def test_the_ends_of_texts_are_the_same_token(first: int, second: int) -> None:
    """Whatever they are called; other special tokens become none."""
    teacher, student = tokenizers()[first], tokenizers()[second]
    tokens = byte_prefix_map(teacher, student)

    assert tokens.whole[teacher.eos_token_id] == student.eos_token_id
    assert (tokens.whole == student.eos_token_id).sum() == 1


def test_tokens_with_the_same_bytes_are_found_under_other_pieces() -> None:
    """A byte-level " The" and a "▁The" are one token; half a character is a byte of a byte-fallback tokenizer."""
    teacher, student = byte_level(), byte_fallback(TEXTS, vocab_size=320)
    tokens, surfaces = byte_prefix_map(teacher, student), TokenBytes(teacher)

    for teacher_id, student_id in enumerate(tokens.whole.tolist()):
        surface = surfaces.of(teacher_id)
        if surface is not None:
            assert surface.startswith(tokens.student[student_id] or b"?")


def test_a_token_goes_where_the_student_begins_its_bytes() -> None:
    """With merges that is not always the longest: the tokenizer itself is asked, by encoding the bytes as a text."""
    texts = ["aetween " * 9, "be be be", "a bed between the two"]
    teacher, student = (
        train_tokenizer([*texts, *["between " * 9] * 9], vocab_size=170),
        train_tokenizer(texts, vocab_size=150),
    )
    tokens = byte_prefix_map(teacher, student)
    shorter = 0
    for teacher_id, surface in enumerate(tokens.teacher):
        if surface and surface.startswith(b" ") and surface != b" ":
            ids = student.encode(surface[1:].decode(), add_special_tokens=False)  # it adds the space
            assert b"".join(tokens.student[token_id] or b"" for token_id in ids) == surface
            assert tokens.whole[teacher_id] == ids[0]
            shorter += ids[0] != longest_prefix(surface, list(tokens.student), tokens.rest)
            for place in np.cumsum([len(tokens.student[token_id] or b"") for token_id in ids])[:-1]:
                within = tokens.within(surface[:place])
                at = within.teacher_ids.tolist().index(teacher_id)
                assert surface[place:].startswith(tokens.student[within.student_ids[at]] or b"?")
        elif surface and (own := b" " + surface).decode(errors="ignore").encode() == own:
            after = tokens.following(b" ")
            ids = student.encode(surface.decode(), add_special_tokens=False)
            assert after.student_ids[after.teacher_ids.tolist().index(teacher_id)] == ids[0]
    assert shorter > 0


def test_tokens_that_were_added_are_found_before_the_text_is_split() -> None:
    """The tokenizer itself is asked, by encoding the text."""
    teacher, student = byte_level(), byte_level()
    teacher.add_tokens(["covids", "covid"])
    student.add_tokens(["covid"])
    tokens = byte_prefix_map(teacher, student)
    covid = student.convert_tokens_to_ids("covid")

    assert student.encode("covids")[0] == covid
    assert tokens.whole[teacher.convert_tokens_to_ids("covids")] == covid
    assert tokens.whole[teacher.convert_tokens_to_ids("covid")] == covid


def test_of_tokens_with_the_same_bytes_the_text_is_taken() -> None:
    """A letter and the byte that it is: only the letter is written."""
    student = llama()
    letters = [piece for piece in student.get_vocab() if len(piece) == 1 and piece.isascii()]
    twins = [letter for letter in letters if f"<0x{ord(letter):02X}>" in student.get_vocab()]
    tokens = byte_prefix_map(byte_level(), student)

    assert twins
    for letter in twins:
        after = tokens.following(letter.encode())
        assert after.others == student.convert_tokens_to_ids(letter)


def test_maps_that_take_too_much_memory_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same result."""
    tokens = BytePrefixMap(random_vocabulary(60, 0), random_vocabulary(25, 1), {})
    first = tokens.within(b"a")
    assert tokens.within(b"a") is first
    monkeypatch.setattr(byte_prefix, "REMEMBERED_IDS", 0)
    tokens.within(b"b")
    again = tokens.within(b"a")

    assert again is not first
    assert again.student_ids.tolist() == first.student_ids.tolist()
