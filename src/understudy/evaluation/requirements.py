"""Requirements on a system's scores, as continuous integration states them, and their parser.

    METRIC (>= | <= | > | <) (NUMBER | SYSTEM [(+ | -) NUMBER [%]])

A percentage is of the other system's value. This module handles texts; `margins` computes whether they hold.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from understudy.errors import ConfigError, did_you_mean, shortened

SAMPLE = "bleu >= teacher - 1"
_NAME = re.compile(r"[^\W\d]\w*")
_OPERATOR = re.compile(r">=|<=|>|<")
_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SIGNED_NUMBER = re.compile(rf"[+-]?{_NUMBER.pattern}")
_BLANKS = re.compile(r"[ \t]*")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A bound on one metric of the system that is judged."""

    text: str
    metric: str
    operator: str
    system: str | None
    """The system whose value the bound is relative to; None: the bound is `offset`."""
    offset: float
    """Added to the system's value; or a share of its absolute value."""
    relative: bool = False
    """Whether `offset` is a share."""

    @property
    def is_lower_bound(self) -> bool:
        """Whether values above the bound hold."""
        return self.operator.startswith(">")

    @property
    def is_strict(self) -> bool:
        """Whether a value equal to the bound does not hold."""
        return len(self.operator) == 1


def parse_requirement(text: str, *, metrics: Mapping[str, bool | None], systems: Collection[str]) -> Requirement:
    """A requirement from its text.

    Args:
        text: such as `bleu >= teacher - 1` or `latency_p50 <= 20`.
        metrics: name -> whether higher values are better; None where either direction may be required.
        systems: the names of all systems; where several fit, the longest is meant.

    Raises:
        ConfigError: naming the column, if the text does not have this form, a name is unknown, or the bound is on the
            side on which the metric's values are better: such a requirement holds for any bad system.
    """
    given = text.rstrip(" \t")
    start = _after_blanks(given, 0)
    name = _NAME.match(given, start)
    if name is None:
        raise _refusal(text, start, f"expected the name of a metric, found {_found(given, start)}")
    metric = name[0]
    if metric not in metrics:
        known = ", ".join(metrics)
        raise _refusal(text, start, f"unknown metric {metric!r}; known: {known}{did_you_mean(metric, metrics)}")
    place = _after_blanks(given, name.end())
    operator = _OPERATOR.match(given, place)
    if operator is None:
        raise _refusal(text, place, f"expected >=, <=, > or <, found {_found(given, place)}")
    higher = metrics[metric]
    if higher is not None and higher != operator[0].startswith(">"):
        better, sign = ("higher", ">=") if higher else ("lower", "<=")
        raise _refusal(
            text,
            place,
            f"{better} values of {metric} are better, so {operator[0]} would hold for any bad one; use {sign}",
        )
    place = _after_blanks(given, operator.end())
    system, offset, relative = _bound(given, place, systems)
    if relative and offset <= -1 and operator[0].startswith(">"):
        raise _refusal(text, place, f"{-offset:.0%} less than a value is nothing or less, which any bad one has")
    return Requirement(given.strip(), metric, operator[0], system, offset, relative)


def _bound(text: str, place: int, systems: Collection[str]) -> tuple[str | None, float, bool]:
    """What stands right of the operator: a system and an offset, or a number alone."""
    number = _SIGNED_NUMBER.match(text, place)
    if number and number.end() == len(text):
        return None, _finite_number(text, place, number[0]), False
    name = max((own for own in systems if _has_name(text, place, own)), key=len, default=None)
    if name is None:
        if number:
            raise _refusal(text, number.end(), f"expected the end after the number, found {_found(text, number.end())}")
        word = re.compile(r"[^\s+]*").match(text, place)
        known = f"{', '.join(systems)}{did_you_mean(word[0] if word else '', systems)}"
        raise _refusal(
            text, place, f"expected a number or a system, found {_found(text, place)}; known systems: {known}"
        )
    place = _after_blanks(text, place + len(name))
    if place == len(text):
        return name, 0.0, False
    sign = {"+": 1.0, "-": -1.0}.get(text[place])
    if sign is None:
        raise _refusal(text, place, f"expected + or - after the system, found {_found(text, place)}")
    place = _after_blanks(text, place + 1)
    amount = _NUMBER.match(text, place)
    if amount is None:
        raise _refusal(text, place, f"expected a number, found {_found(text, place)}")
    value, end = sign * _finite_number(text, place, amount[0]), _after_blanks(text, amount.end())
    relative = text.startswith("%", end)
    end = _after_blanks(text, end + relative)
    if end < len(text):
        raise _refusal(text, end, f"expected the end, found {_found(text, end)}")
    return name, value / 100 if relative else value, relative


def _has_name(text: str, place: int, name: str) -> bool:
    """Whether a whole name stands there."""
    return text.startswith(name, place) and text[place + len(name) : place + len(name) + 1] in {"", " ", "\t", "+", "-"}


def _finite_number(text: str, place: int, number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise _refusal(text, place, f"the number {shortened(number)} is too large")
    return value


def _after_blanks(text: str, place: int) -> int:
    blanks = _BLANKS.match(text, place)
    return blanks.end() if blanks else place


def _found(text: str, place: int) -> str:
    return repr(text[place]) if place < len(text) else "the end"


def _refusal(text: str, place: int, problem: str) -> ConfigError:
    return ConfigError(f"requirement {shortened(text)}, column {place + 1}: {problem}; an example is {SAMPLE!r}")
