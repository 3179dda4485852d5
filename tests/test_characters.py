import unicodedata

import pytest

from understudy.characters import visible, visible_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("\x00\x07\r", r"\x00\x07\r"),
        ("\x9b31m", r"\x9b31m"),
        ("txt.\u202eexe", r"txt.\u202eexe"),
        ("\u2066a\u2069", r"\u2066a\u2069"),
        ("half \ud83d", r"half \ud83d"),
        ("one\ttwo\nthree", "one\ttwo\nthree"),
        ("中文 العربية ไทย 🙂", "中文 العربية ไทย 🙂"),
        ("[/x] :smile:", "[/x] :smile:"),
    ],
)
def test_hidden_characters_become_escapes(text: str, shown: str) -> None:
    """Text of any script stays as it is."""
    assert visible(text) == shown


def test_no_control_character_passes() -> None:
    """Unicode's own category of controls, halves of surrogate pairs and bidirectional classes are the reference."""
    hidden = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    passed = {
        code
        for code in range(0x110000)
        if (unicodedata.category(chr(code)) in {"Cc", "Cs"} or unicodedata.bidirectional(chr(code)) in hidden)
        and visible(chr(code)) == chr(code)
    }

    assert passed == {ord("\t"), ord("\n")}


def test_text_fits_the_encoding() -> None:
    """Our own signs become similar ones; other characters become escapes, and Latin-1 keeps what it has."""
    assert visible("−1.5 – é", "ascii") == r"-1.5 - \xe9"
    assert visible("WER\u00a0↓ 中", "ascii") == r"WER (lower is better) \u4e2d"
    assert visible("é", "latin-1") == "é"


def test_a_line_stays_a_line() -> None:
    """A name with a line feed cannot add a line to a table of bars."""
    assert visible_line("a\nb\tc") == r"a\nb\tc"
