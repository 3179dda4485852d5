"""Reads a bulletin back and counts what it says wrongly, leaves out and makes up.

Content selection: place, day, the sky of each period, the chance of its precipitation, low, high, gusts and
hazards must be said; of the winds the strongest, if it is no mere breeze. Nothing else may be claimed.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from understudy.demo.forecast_record import Forecast, parse_forecast
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
Reading = frozenset[Value]
"""The values a phrase may mean: "the lower 20s" are 20, 21, 22 and 23."""


@dataclass(frozen=True, slots=True)
class SlotErrors:
    """What a text got wrong of the facts of its source."""

    facts: int
    """Facts the text must state; depends on the source alone."""
    wrong: int
    """Facts stated with another value."""
    missing: int
    """Facts not stated."""
    invented: int
    """Statements beyond the facts."""


def alternatives(phrases: Sequence[str]) -> str:
    """A pattern of whole phrases, longer ones first: "partly cloudy" is not "cloudy"."""
    return rf"\b({'|'.join(sorted(map(re.escape, phrases), key=len, reverse=True))})\b"


AMOUNT = r"((?:minus |-)?\d+\b(?!%)|(?:lower|mid|upper) [1-9]0s)"
HIGH = re.compile(rf"\b(?:highs?|maximum)(?: [a-z]+){{0,3}}? {AMOUNT}")
LOW = re.compile(rf"\b(?:lows?|minimum)(?: [a-z]+){{0,3}}? {AMOUNT}")
RANGE = re.compile(rf"\b(?:between|from) {AMOUNT} (?:and|to) {AMOUNT}")
SPEED = re.compile(r"\bgust\w*(?: [a-z]+){0,3} (\d+)|\b(\d+) km/h")
LIGHT = re.compile(r"\blight(?: \w+)? winds?\b")
CHANCE = re.compile(r"(\d+)(?:%| percent)")
TIME = re.compile(rf"\b({'|'.join(PERIODS)}|overnight)\b")
# "and" parts two statements unless a time follows: "in the morning and evening".
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
"""Slots whose value is a single word, wherever it stands."""


def check_bulletin(source: str, text: str) -> SlotErrors:
    """Count the slot errors of a bulletin.

    Within a slot, a fact that is not stated and a statement that is not a fact make one wrong fact; what is
    left over is missing or invented.

    Args:
        source: a source of the forecast task.
        text: the bulletin, or whatever a model wrote for that source.

    Returns:
        The facts the text must state, and the errors it makes.

    Raises:
        DataError: if the source is not one of the forecast task.
    """
    forecast = parse_forecast(source)
    required, allowed = facts_of(forecast)
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


def facts_of(forecast: Forecast) -> tuple[dict[str, Reading], dict[str, Reading]]:
    """Slot -> the values a bulletin must state, and the values it may state."""
    wind = forecast.strongest
    required: dict[str, Reading] = {
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
    winds: dict[str, Reading] = {
        "wind direction": frozenset({wind.direction}),
        "wind speed": frozenset({wind.speed}),
    }
    if wind.gust is not None:
        required["gust"] = frozenset({wind.gust})
    return (required | winds, {}) if wind.speed >= BREEZE else (required, winds)


def statements(text: str, periods: Sequence[str]) -> dict[str, set[Reading]]:
    """Slot -> what a text says of it, under a forecast of these periods."""
    text = text.lower()
    stated: defaultdict[str, set[Reading]] = defaultdict(set)
    words = re.findall(r"[a-z]+", text)
    for slot, values in WORDS.items():
        stated[slot].update(frozenset({values[word]}) for word in words if word in values)
    for slot, reading in measures(text):
        stated[slot].add(reading)
    for slot, reading in weather(text, periods):
        stated[slot].add(reading)
    return stated


def measures(text: str) -> Iterator[tuple[str, Reading]]:
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


def amount(phrase: str) -> Reading:
    """The temperatures that "7", "minus 3" or "mid 20s" may mean."""
    part, _, tens = phrase.partition(" ")
    if part in TENS:
        return frozenset(int(tens[:-1]) + digit for digit in TENS[part])
    return frozenset({int(phrase.replace("minus ", "-"))})


def weather(text: str, periods: Sequence[str]) -> Iterator[tuple[str, Reading]]:
    """Skies and chances, clause by clause; a time that stands alone belongs to the clause after it."""
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


def chance(clause: str) -> Reading:
    """The chances that a clause about precipitation may mean, in percent."""
    numbers = CHANCE.findall(clause)
    if numbers:
        return frozenset(map(int, numbers))
    return next(
        frozenset(likelihood.chances)
        for likelihood in LIKELIHOODS
        if not likelihood.terms or any(term in clause for term in likelihood.terms)
    )
