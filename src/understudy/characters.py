"""Makes characters visible that would change how a terminal or a page shows the text around them.

Names, texts and messages of other programs are shown exactly, but never obeyed: an escape sequence could clear the
screen, and an override of the writing direction could show `exe.txt` for `txt.exe`.
"""

import re

_HIDDEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but tab and line feed
    "\u2028\u2029"  # line and paragraph separators
    "\u202a-\u202e\u2066-\u2069"  # embeddings, overrides and isolates of the writing direction
    "\ud800-\udfff"  # halves of surrogate pairs, which no encoding can write
    "\ufeff"
    "]"
)
_PLAIN = str.maketrans(
    {
        "\u202f": " ",
        "\u00a0": " ",
        "\u2212": "-",
        "\u2013": "-",
        "\u2014": "-",
        "\u2026": "...",
        "\u00b7": "|",
        "\u00d7": "x",
        "\u2193": "(lower is better)",
    }
)
"""The characters that our own messages use outside ASCII."""


def visible(text: str, encoding: str = "utf-8") -> str:
    r"""The text with hidden characters as escapes, such as `\x1b`, in characters that the encoding has.

    Tabs and line feeds stay. What the encoding lacks becomes a similar character if our own messages use it, else an
    escape such as `\u4e2d`.

    Args:
        text: any text, also with halves of surrogate pairs.
        encoding: of the stream that the text is written to.
    """
    shown = _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    try:
        shown.encode(encoding)
    except UnicodeEncodeError:
        return shown.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return shown


def visible_line(text: str, encoding: str = "utf-8") -> str:
    r"""As `visible`, on one line: tabs and line feeds become escapes as well."""
    return visible(text, encoding).replace("\n", r"\n").replace("\t", r"\t")
