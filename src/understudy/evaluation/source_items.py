"""Numbers, dates, codes and capitalised names of a text, and whether another text states them.

It knows no language but English month names, ordinals and number words. Inflected names differ from their base forms,
and the first word of a sentence is never a name; the rate of human references shows what this costs on a task.
Signs and units are left out: -5 °C and 5 km are both 5.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from unicodedata import digit, normalize

import regex

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
NUMBER_WORDS = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14", "fifteen": "15",
    "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20", "thirty": "30",
    "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90",
}  # fmt: skip
"""Evidence for a number in digits; they are no numbers of their own, since `one` seldom counts anything."""

_MONTH = "|".join(f"{month[:3]}(?:{month[3:]})?" for month in MONTHS)
CASED = r"\p{Lu}\p{Ll}"
GROUPED = regex.compile(r"(?<=\d)['’\u00a0\u2009\u202f](?=\d{3}(?!\d))")
DATES = (
    ("ymd", regex.compile(r"(?<!\d)(\d{4})\s?[-/.年년]\s?(\d{1,2})\s?[-/.月월]\s?(\d{1,2})(?!\d)")),
    ("dmy", regex.compile(r"(?<![\d.])(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})(?!\d)")),
    (
        "dby",
        regex.compile(rf"(?i)(?<!\d)(\d{{1,2}})(?:st|nd|rd|th|\.)?\s+(?:of\s+)?({_MONTH})\b\.?,?\s+(\d{{4}})(?!\d)"),
    ),
    ("bdy", regex.compile(rf"(?i)\b({_MONTH})\b\.?\s+(\d{{1,2}})(?:st|nd|rd|th)?,?\s+(\d{{4}})(?!\d)")),
)
"""Order of year, month (in digits m, by name b) and day -> pattern."""
SPACED = r"(?<![\d.,])\d{1,3}(?: \d{3})+(?:[.,]\d+)?(?!\d)"
NUMBER = regex.compile(r"\d+(?:[.,]\d+)*")
TOKEN = regex.compile(rf"{SPACED}|(?<![{CASED}\d])[{CASED}\d]+(?:[-_/][{CASED}\d]+|(?<=\d)[.,]\d+)*|\d+(?:[.,]\d+)*")
"""A number in groups that are separated by spaces, a word or code, or a number next to letters without case."""
_CODE = regex.compile(rf"[{CASED}].*\d")
LOWER_PART = regex.compile(r"(?:^|[-_/])\p{Ll}+(?=$|[-_/])")
NAME = regex.compile(r"(?<![\p{L}\p{M}\p{N}])\p{Lu}[\p{L}\p{M}]++(?![-_/]?\p{N})")
PIECE = regex.compile(r"[\p{L}\p{M}]+|\d+")
START = regex.compile(r"(?:^|[.!?…。！？]\s*|\n)[\s\p{P}\p{S}]*$")
THOUSANDS = 3


@dataclass(frozen=True, slots=True)
class Item:
    """A number, date, code or name of a text."""

    text: str
    forms: frozenset[str]
    """What it may mean: `1,234` is 1234 or 1.234. Two items are the same if they share one."""
    parts: frozenset[str] = frozenset()
    """Year, month and day of a date: a text without dates may state them apart from each other."""


@dataclass(frozen=True, slots=True)
class ReadText:
    """The items of a text, and all that it states."""

    items: tuple[Item, ...]
    numbers: frozenset[str]
    dates: frozenset[str]
    pieces: str
    """Runs of letters and of digits in lower case, with spaces around them."""

    def states(self, item: Item) -> bool:
        """Whether the text states an item of another one."""
        if item.parts:
            return bool(item.forms & self.dates) or (not self.dates and item.parts <= self.numbers)
        return bool(item.forms & self.numbers) or any(f" {form} " in self.pieces for form in item.forms)


@lru_cache(maxsize=2**14)
def read_text(text: str) -> ReadText:
    """The items of a text in their order, each once, and all that it states."""
    text = regex.sub(r"\p{Nd}", lambda found: str(digit(found[0])), normalize("NFKC", GROUPED.sub("", text)))
    dates, rest = _dates(text)
    items = {item.forms: item for item in chain(dates, _numbers_and_codes(rest), _names(rest))}
    pieces = [piece.casefold() for piece in PIECE.findall(text)]
    months = [MONTHS[int(form.split("-")[1]) - 1] for item in dates for form in item.forms]
    found = (*NUMBER.findall(text), *(token.replace(" ", "") for token in regex.findall(SPACED, text)))
    numbers = [form for token in found for form in number_forms(token)]
    words = [NUMBER_WORDS[piece] for piece in pieces if piece in NUMBER_WORDS]
    return ReadText(
        tuple(items.values()),
        frozenset((*numbers, *words, *(part for item in dates for part in item.parts))),
        frozenset(form for item in dates for form in item.forms),
        f" {' '.join((*pieces, *months))} ",
    )


def has_names(texts: Iterable[str]) -> bool:
    """Whether names can be found in texts: unless most of their letters are of scripts without capitals."""
    text = " ".join(texts)
    return 2 * len(regex.findall(r"\p{Lo}", text)) <= len(regex.findall(r"\p{L}", text))


def number_forms(token: str) -> frozenset[str]:
    """What a number in digits may mean, without leading and trailing zeros; `token` has digits, commas and periods."""
    *before, last = regex.split("[.,]", token)
    separators = regex.findall("[.,]", token)
    grouped = (
        all(len(group) == THOUSANDS for group in (*before[1:], last)) and len(before[0]) <= THOUSANDS
        if before
        else False
    )
    if not separators:
        return frozenset({_plain(token)})
    if len(separators) == 1:
        return frozenset({_plain(before[0], last), *([_plain(before[0] + last)] if grouped else [])})
    if len(set(separators[:-1])) == 1 and separators[-1] != separators[0]:
        return frozenset({_plain("".join(before), last)})
    # Indian numbers have groups of two before the last of three.
    indian = len(last) == THOUSANDS and set(separators) == {","}
    return frozenset({_plain("".join(before) + last) if grouped or indian else token})


def _plain(whole: str, fraction: str = "") -> str:
    return ".".join(filter(None, (whole.lstrip("0") or "0", fraction.rstrip("0"))))


def _dates(text: str) -> tuple[list[Item], str]:
    """The full dates of a text, and the text without them."""
    items = []
    for order, pattern in DATES:
        for found in pattern.finditer(text):
            forms = frozenset(_date_forms(order, found.groups()))
            if forms:
                parts = frozenset(str(int(part)) for form in forms for part in form.split("-"))
                items.append(Item(found[0].strip(), forms, parts))
                text = text.replace(found[0], " " * len(found[0]))
    return items, text


def _date_forms(order: str, groups: tuple[str, ...]) -> Iterator[str]:
    """The dates that three numbers may mean, as year-month-day."""
    readings = ("dmy", "mdy") if order == "dmy" else (order.replace("b", "m"),)
    for reading in readings:
        part = dict(zip(reading, groups, strict=True))
        by_name = [at for at, month in enumerate(MONTHS, 1) if month.startswith(part["m"].lower()[:3])]
        year, month, day = int(part["y"]), by_name[0] if by_name else int(part["m"]), int(part["d"])
        if 1 <= month <= len(MONTHS) and 1 <= day <= 31:  # noqa: PLR2004 - days of a month
            yield f"{year}-{month}-{day}"


def _numbers_and_codes(text: str) -> Iterator[Item]:
    for token in TOKEN.findall(text):
        # `mid-2024` and `12-month` are words with numbers, `COVID-19` and `KX4711` are codes.
        if _CODE.search(token) and not LOWER_PART.search(token):
            yield Item(token, frozenset({" ".join(PIECE.findall(token)).casefold()}))
        elif " " in token:
            yield Item(token, number_forms(token.replace(" ", "")))
        else:
            yield from (Item(number, number_forms(number)) for number in NUMBER.findall(token))


def _names(text: str) -> Iterator[Item]:
    """Capitalised words that do not begin a sentence and are not written in lower case elsewhere in the text."""
    uncapitalised = {piece for piece in PIECE.findall(text) if piece[0].islower()}
    if not uncapitalised:
        return  # a text in capitals, or in a script without case
    for found in NAME.finditer(text):
        if found[0].lower() not in uncapitalised and not START.search(text[: found.start()][-200:]):
            yield Item(found[0], frozenset({found[0].casefold()}))
