"""Checks the facts of a bulletin against its source: counts wrong, missing and invented facts.

A bulletin must state the place, the day, the sky of each period, the chance of its precipitation, low, high, gusts and
hazards, and the strongest wind if it reaches `BREEZE`. It may state nothing else.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from understudy.demo.forecast_record import ForecastRecord, parse_forecast
from understudy.demo.forecast_words import (
    BREEZE,
    CALM,
    DAYS,
    DIRECTIONS,
    HAZARDS,
    LIKELIHOODS,
    PERIODS,
    PLACES,
    SKIES,
    TENS,
)

Value = str | int
SlotValues = frozenset[Value]
"""The values that a phrase may mean: "the lower 20s" are 20, 21, 22 and 23."""


@dataclass(frozen=True, slots=True)
class SlotErrors:
    """The errors of a text in the facts of its source."""

    facts: int
    """Number of facts that the text must state; depends on the source alone."""
    wrong: int
    """Number of facts stated with another value."""
    missing: int
    """Number of facts not stated."""
    invented: int
    """Number of statements beyond the facts."""


def alternatives(phrases: Sequence[str]) -> str:
    """A pattern of whole phrases, longer ones first, so that "partly cloudy" does not match "cloudy"."""
    return rf"\b({'|'.join(sorted(map(re.escape, phrases), key=len, reverse=True))})\b"


AMOUNT = r"((?:minus |-)?\d+\b(?!%)|(?:lower|mid|upper) [1-9]0s)"
HIGH = re.compile(rf"\b(?:highs?|maximum)(?: [a-z]+){{0,3}}? {AMOUNT}")
LOW = re.compile(rf"\b(?:lows?|minimum)(?: [a-z]+){{0,3}}? {AMOUNT}")
RANGE = re.compile(rf"\b(?:between|from) {AMOUNT} (?:and|to) {AMOUNT}")
SPEED = re.compile(r"\bgust\w*(?: [a-z]+){0,3} (\d+)|\b(\d+) km/h")
LIGHT = re.compile(r"\blight(?: \w+)? winds?\b")
CHANCE = re.compile(r"(\d+)(?:%| percent)")
TIME = re.compile(rf"\b({'|'.join(PERIODS)}|overnight)\b")
# "and" separates two statements unless a time follows: "in the morning and evening".
CLAUSE_END = re.compile(
    r"[.,;:]|\b(?:then|before|while|but|giving way to)\b"
    rf"|\band\b(?! (?:(?:in|during|at|by) )?(?:the )?(?:{'|'.join(PERIODS)}|overnight)\b)"
)
SKY_OF = {
    phrase: name
    for name, sky in SKIES.items()
    for phrase in (
        name,
        *sky.nouns,
        *sky.day_nouns,
        *sky.states,
    )
}
SKY = re.compile(alternatives(tuple(SKY_OF)))
HAZARD_OF = {cue: name for name, hazard in HAZARDS.items() for cue in hazard.cues}
DIRECTION_OF = {word + ending: name for name, word in DIRECTIONS.items() for ending in ("", "erly", "ern")}
PLACE_OF = {place.lower(): place for place in PLACES}
DAY_OF = {day.lower(): day for day in DAYS}
WORDS: Mapping[str, Mapping[str, str]] = {
    "place": PLACE_OF,
    "day": DAY_OF,
    "hazard": HAZARD_OF,
    "wind direction": DIRECTION_OF,
}
"""Slots whose value is a single word anywhere in the text."""


def check_bulletin(source: str, text: str) -> SlotErrors:
    """Counts the slot errors of a bulletin.

    Within a slot, a missing fact and an invented statement count as one wrong fact; the remaining ones are missing or
    invented.

    Args:
        source: a source of the forecast task.
        text: the bulletin, or any text that a model generated for that source.

    Returns:
        The number of facts that the text must state, and of its errors.

    Raises:
        DataError: if the source is not one of the forecast task.
    """
    forecast = parse_forecast(source)
    required, allowed = required_and_allowed_facts(forecast)
    stated = statements(text, [period.name for period in forecast.periods])
    wrong = missing = invented = 0
    for slot in required.keys() | stated.keys():
        values, readings = required.get(slot, frozenset()), stated.get(slot, set())
        unmet = sum(not any(value in reading for reading in readings) for value in values)
        surplus = sum(reading.isdisjoint(values | allowed.get(slot, frozenset())) for reading in readings)
        wrong += min(unmet, surplus)
        missing += max(unmet - surplus, 0)
        invented += max(surplus - unmet, 0)
    return SlotErrors(sum(map(len, required.values())), wrong, missing, invented)


def required_and_allowed_facts(forecast: ForecastRecord) -> tuple[dict[str, SlotValues], dict[str, SlotValues]]:
    """Two mappings of slot -> values: those that a bulletin must state, and those that it may state."""
    wind = forecast.strongest
    required: dict[str, SlotValues] = {
        "place": frozenset({forecast.place}),
        "day": frozenset({forecast.day}),
        "low": frozenset({forecast.low}),
        "high": frozenset({forecast.high}),
        "hazard": frozenset(forecast.hazards),
    }
    for period in forecast.periods:
        required[f"{period.name} sky"] = frozenset({period.sky})
        if period.chance is not None:
            required[f"{period.name} chance"] = frozenset({period.chance})
    winds: dict[str, SlotValues] = {
        "wind direction": frozenset({wind.direction}),
        "wind speed": frozenset({wind.speed}),
    }
    if wind.gust is not None:
        required["gust"] = frozenset({wind.gust})
    return (required | winds, {}) if wind.speed >= BREEZE else (required, winds)


def statements(text: str, periods: Sequence[str]) -> dict[str, set[SlotValues]]:
    """Slot -> the values that a text states for it, given the periods of the forecast."""
    text = text.lower()
    stated: defaultdict[str, set[SlotValues]] = defaultdict(set)
    words = re.findall(r"[a-z]+", text)
    for slot, values in WORDS.items():
        stated[slot].update(frozenset({values[word]}) for word in words if word in values)
    for slot, reading in measures(text):
        stated[slot].add(reading)
    for slot, reading in weather(text, periods):
        stated[slot].add(reading)
    return stated


def measures(text: str) -> Iterator[tuple[str, SlotValues]]:
    """Temperatures and wind speeds."""
    for low, high in RANGE.findall(text):
        yield "low", amount(low)
        yield "high", amount(high)
    for high in HIGH.findall(text):
        yield "high", amount(high)
    for low in LOW.findall(text):
        yield "low", amount(low)
    for gust, speed in SPEED.findall(text):
        yield "gust" if gust else "wind speed", frozenset({int(gust or speed)})
    if LIGHT.search(text):
        yield "wind speed", frozenset(range(CALM + 1))


def amount(phrase: str) -> SlotValues:
    """The temperatures that "7", "minus 3" or "mid 20s" may mean."""
    part, _, tens = phrase.partition(" ")
    if part in TENS:
        return frozenset(int(tens[:-1]) + digit for digit in TENS[part])
    return frozenset({int(phrase.replace("minus ", "-"))})


def weather(text: str, periods: Sequence[str]) -> Iterator[tuple[str, SlotValues]]:
    """Skies and chances, clause by clause; a clause with nothing but a time sets the time of the next clause."""
    before: list[str] = []
    for clause in CLAUSE_END.split(text):
        times = ["night" if time == "overnight" else time for time in TIME.findall(clause)]
        skies = [SKY_OF[phrase] for phrase in SKY.findall(clause)]
        if not skies:
            before = times or before
            continue
        for time in times or before or periods:
            for sky in skies:
                yield f"{time} sky", frozenset({sky})
                if not SKIES[sky].states:
                    yield f"{time} chance", chance(clause)
        before = []


def chance(clause: str) -> SlotValues:
    """The chances that a clause about precipitation may mean, in percent."""
    numbers = CHANCE.findall(clause)
    if numbers:
        return frozenset(map(int, numbers))
    return next(
        frozenset(likelihood.chances)
        for likelihood in LIKELIHOODS
        if not likelihood.terms or any(term in clause for term in likelihood.terms)
    )
