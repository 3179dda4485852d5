"""Student tokens are compared with the teacher's tokens that have the same bytes at the same place."""

from understudy.training.byte_alignment import TokenReading, align_bytes


def test_readings_of_tokens_that_begin_and_end_elsewhere() -> None:
    """By hand; a token of the teacher without bytes is passed over."""
    student, teacher = [b" the", b" Mi", b"ll", b" 2", b"0", None], [b"", b"the", b" Mill", b" ", b"20", None]

    assert align_bytes(student, teacher, ends=True) == [
        TokenReading("exact", 1, 1, 0, led=True),
        TokenReading("merged", 2, 2),
        TokenReading("inside", 2, 2, 3),
        TokenReading("merged", 3, 4),
        TokenReading("inside", 4, 4, 1),
        TokenReading("exact", 5, 5),
    ]


def test_readings_end_where_the_bytes_differ() -> None:
    """After half a character, an unknown one, or the last position that the teacher has."""
    smile = "\N{SLIGHTLY SMILING FACE}".encode()
    half = align_bytes([b"a", b" b", smile[:2]], [b"a", b" b", "\N{REPLACEMENT CHARACTER}".encode(), None], ends=False)
    unknown = align_bytes([b"a", None, b"b", None], [b"a", b"?b", None], ends=True)
    cut = align_bytes([b"a", b"b", b"c", None], [b"a", b"bc"], ends=False)
    straddling = align_bytes([b"a", b"b", b"x"], [b"a", b"bc"], ends=False)

    assert [reading.kind for reading in half] == ["exact", "exact", "text"]
    assert [reading.kind for reading in unknown] == ["exact", "text", "text", "text"]
    assert [reading.kind for reading in cut] == ["exact", "merged", "inside", "text"]
    assert [reading.kind for reading in straddling] == ["exact", "merged", "text"]
    assert align_bytes([], [None], ends=False) == []
