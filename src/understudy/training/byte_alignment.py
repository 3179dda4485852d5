"""Which of a teacher's tokens a student token is compared with, where both tokenizers spell one text in bytes.

This module handles bytes and places. What becomes of the teacher's probabilities there is in other_tokenizer.py.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

ReadingKind = Literal["exact", "merged", "inside", "text"]
"""Exact: a token of the teacher has the same bytes at the same place. Merged: one begins there and ends elsewhere.
Inside: the student's token begins within one. Text: the teacher's distribution is unknown there."""


class TokenReading(NamedTuple):
    """How the teacher's distributions give that of one student token."""

    kind: ReadingKind
    first: int = 0
    """The teacher's token, by its place in the text, in which the student's begins."""
    last: int = 0
    """The teacher's token in which it ends."""
    consumed: int = 0
    """Bytes of the first one before the student's token."""
    led: bool = False
    """Whether the student's token begins with a space that the teacher does not write."""


TEXT_ALONE = TokenReading("text")


def align_bytes(student: Sequence[bytes | None], teacher: Sequence[bytes | None], *, ends: bool) -> list[TokenReading]:
    """How each student token of a text is read, as far as the bytes of both tokenizations agree.

    A space that one of the two tokenizers puts before a text is no difference.

    Args:
        student: bytes of the student's tokens of a text; None for a special token.
        teacher: the same for the teacher's tokens, whole or only the first ones.
        ends: whether the last token of both is the one that ends a text.

    Returns:
        A reading per student token; `TEXT_ALONE` for special tokens other than the end, and from the first difference
        on.
    """
    own, others = (b"".join(token or b"" for token in tokens) for tokens in (student, teacher))
    spaces = _leading_spaces(own, others)
    own, others = spaces[1] * b" " + own, spaces[0] * b" " + others
    agreed = _agreed(own, others)
    # Bytes from the beginning of the longer of the two strings: a missing space is none of its tokens'.
    ends_of_teacher = list(accumulate((len(token or b"") for token in teacher), initial=spaces[0]))[1:]
    readings, begin = list[TokenReading](), spaces[1]
    for token in student:
        end = begin + len(token or b"")
        if not token or end > agreed:
            readings.append(TEXT_ALONE)
        else:
            readings.append(_reading(begin, end, ends_of_teacher, teacher, spaces))
        begin = end
    if ends and student and own == others:
        readings[-1] = TokenReading("exact", len(teacher) - 1, len(teacher) - 1)
    return readings


def _leading_spaces(student: bytes, teacher: bytes) -> tuple[int, int]:
    """Spaces that are missing before the teacher's and before the student's bytes, of which at least one is 0."""
    padded = {
        missing: (missing[1] * b" " + student, missing[0] * b" " + teacher) for missing in ((0, 0), (1, 0), (0, 1))
    }
    equal = next((missing for missing, (own, others) in padded.items() if own == others), None)
    return equal or max(padded, key=lambda missing: _agreed(*padded[missing]))


def _agreed(first: bytes, second: bytes) -> int:
    """How many bytes two strings begin with alike."""
    shorter = min(len(first), len(second))
    if first[:shorter] == second[:shorter]:
        return shorter
    return next(place for place in range(shorter) if first[place] != second[place])


def _reading(
    begin: int, end: int, ends_of_teacher: list[int], teacher: Sequence[bytes | None], spaces: tuple[int, int]
) -> TokenReading:
    led = begin < spaces[0]
    # The first token that ends behind the place: a token without bytes ends where it begins.
    first = bisect_right(ends_of_teacher, begin + led)
    last = max(first, bisect_right(ends_of_teacher, end - 1))
    consumed = 0 if led else begin - (ends_of_teacher[first] - len(teacher[first] or b""))
    if consumed and begin != spaces[1]:
        return TokenReading("inside", first, last, consumed)
    exact = first == last and ends_of_teacher[last] == end
    return TokenReading("exact" if exact else "merged", first, last, consumed, led)
