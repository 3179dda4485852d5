"""Writes bulletins for a forecast: draws their content, grouping, order and wording.

Every choice is random, so one forecast has many bulletins, all of them correct. `forecast_check.py` defines what they
must mention; the phrases are in `forecast_words.py`.
"""

import random
from collections.abc import Sequence

from understudy.demo.forecast_record import ForecastRecord, Period, Wind, happens
from understudy.demo.forecast_words import (
    BREEZE,
    CALM,
    DIRECTIONS,
    HAZARDS,
    LIKELIHOODS,
    PERIODS,
    SKIES,
    TENS,
    TENS_FROM,
)

NOUN_HEADS = (
    "On {day}, {place} can expect {sky}",
    "{day} in {place} brings {sky}",
    "{place}, {day}: {sky}",
    "For {place} on {day}, expect {sky}",
    "The outlook for {place} on {day}: {sky}",
    "On {day}, {place} is in for {sky}",
)
CLAUSE_HEADS = (
    "In {place} on {day}, {sky}",
    "{day} in {place}: {sky}",
    "{place} forecast for {day}: {sky}",
)
WARNINGS = (
    "A warning for {hazard} is in force for {place} on {day}",
    "Watch for {hazard} in {place} on {day}",
    "{place} is warned of {hazard} on {day}",
)
HAZARD_SENTENCES = (
    "Watch for {hazard}",
    "Beware of {hazard}",
    "There is a risk of {hazard}",
    "A warning is in force for {hazard}",
    "Be prepared for {hazard}",
)
WHEN = {
    "morning": ("in the morning", "during the morning"),
    "afternoon": ("in the afternoon", "during the afternoon"),
    "evening": ("in the evening", "during the evening"),
    "night": ("at night", "overnight"),
}
DAYLIGHT = frozenset({"morning", "afternoon"})
LATER = {
    "morning": ("in the morning",),
    "afternoon": ("in the afternoon", "by afternoon", "later in the afternoon"),
    "evening": ("in the evening", "by evening", "towards evening"),
    "night": ("at night", "overnight", "by night"),
}
ONE = ("{}",)
TRIPLES = ("{}, {}, and {}", "{}, then {} and {}", "{}; {}; {}")
NOUN_PAIRS = ("{} and {}",)
NOUN_TURNS = (*NOUN_PAIRS, "{}, then {}", "{} giving way to {}", "{} before {}", "{}, followed by {}")
CLAUSE_PAIRS = ("{}, while {}", "{} and {}", "{}; {}")
CLAUSE_TURNS = (*CLAUSE_PAIRS, "{}, then {}")
RANGES = (
    "temperatures between {low} and {high} degrees",
    "temperatures from {low} to {high} degrees",
    "temperatures ranging from {low} to {high} degrees",
)
EXTREMES = (
    "highs {high} and lows {low}",
    "lows {low} and highs {high}",
    "a high {high} and a low {low}",
    "a maximum {high} and a minimum {low}",
)
WINDS = (
    "{direction} winds at {speed} km/h",
    "{direction} winds up to {speed} km/h",
    "{direction}erly winds of {speed} km/h",
    "winds from the {direction} at {speed} km/h",
    "winds up to {speed} km/h from the {direction}",
)
GUSTS = (" gusting to {}", ", gusting to {}", " and gusts up to {}", " and gusts of {} km/h")
LIGHT_WINDS = ("light winds", "light {direction} winds", "light winds from the {direction}")
Group = tuple[Period, tuple[str, ...]]
"""A period and the names of all periods with the same weather."""


def write_bulletin(forecast: ForecastRecord, rng: random.Random) -> str:
    """A random bulletin that is correct for a forecast.

    Args:
        forecast: the facts.
        rng: draws content, order and wording.

    Returns:
        One to three sentences.
    """
    hazard = " and ".join(rng.choice(HAZARDS[name].nouns) for name in forecast.hazards)
    warn_first = bool(hazard) and happens(rng, 0.3)
    measures = measure_phrases(forecast, rng)
    sky, has_clauses = sky_sentence(forecast, rng, bare=warn_first)
    sentences = [sky]
    if not has_clauses and happens(rng, 0.3):
        sentences[0] += f", with {measures.pop(0)}"
    if measures and (hazard or happens(rng, 0.6)):
        measures = [", with ".join(measures)]
    sentences += measures
    if warn_first:
        warning = rng.choice(WARNINGS).format(hazard=hazard, place=forecast.place, day=forecast.day)
        sentences.insert(0, warning)
    elif hazard:
        sentences.append(rng.choice(HAZARD_SENTENCES).format(hazard=hazard))
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)


def sky_sentence(forecast: ForecastRecord, rng: random.Random, *, bare: bool) -> tuple[str, bool]:
    """The weather of all periods, and whether it has clauses; `bare`: another sentence names place and day."""
    groups = group_periods(forecast.periods, rng)
    clauses = happens(rng, 0.4)
    sky = sky_clauses(groups, rng) if clauses else sky_nouns(groups, rng)
    if bare:
        return sky, clauses
    head = rng.choice(CLAUSE_HEADS if clauses else NOUN_HEADS)
    return head.format(place=forecast.place, day=forecast.day, sky=sky), clauses


def group_periods(periods: Sequence[Period], rng: random.Random) -> list[Group]:
    """Groups periods of the same weather: all of them, or neighbors only."""
    apart = happens(rng, 0.5)
    groups: list[Group] = []
    for period in periods:
        same = [
            index
            for index, (first, _) in enumerate(groups)
            if (first.sky, first.chance) == (period.sky, period.chance) and (apart or index == len(groups) - 1)
        ]
        if same:
            first, names = groups[same[0]]
            groups[same[0]] = (first, (*names, period.name))
        else:
            groups.append((period, (period.name,)))
    return groups


def in_order(groups: Sequence[Group]) -> bool:
    """Whether every group ends before the next one begins, so that one weather can turn into the other."""
    names = [name for _, group in groups for name in group]
    return names == sorted(names, key=PERIODS.index)


def sky_nouns(groups: Sequence[Group], rng: random.Random) -> str:
    """Such as "rain in the morning giving way to clear skies by evening"."""
    turns = in_order(groups)
    phrases = [
        f"{noun_of(period, names, rng)} {when(names, rng, later=turns and index > 0, alone=len(groups) == 1)}"
        for index, (period, names) in enumerate(groups)
    ]
    return join(phrases, NOUN_TURNS if turns else NOUN_PAIRS, rng)


def sky_clauses(groups: Sequence[Group], rng: random.Random) -> str:
    """Such as "rain is likely in the morning, while it will be clear by evening", the times first or last."""
    turns = in_order(groups)
    fronted = len(groups) > 1 and happens(rng, 0.3)
    clauses = []
    for index, (period, names) in enumerate(groups):
        clause = clause_of(period, rng)
        time = when(names, rng, later=turns and index > 0, alone=len(groups) == 1)
        clauses.append(f"{time}, {clause}" if fronted else f"{clause} {time}")
    return "; ".join(clauses) if fronted else join(clauses, CLAUSE_TURNS if turns else CLAUSE_PAIRS, rng)


def join(phrases: Sequence[str], pairs: Sequence[str], rng: random.Random) -> str:
    """Joins one to three phrases."""
    return rng.choice((ONE, pairs, TRIPLES)[len(phrases) - 1]).format(*phrases)


def when(names: Sequence[str], rng: random.Random, *, later: bool, alone: bool) -> str:
    """The time of a group of periods; `alone`: it is the only group."""
    if len(names) == 1:
        return rng.choice((LATER if later else WHEN)[names[0]])
    first, second, *third = ["overnight" if name == "night" else name for name in names]
    if third or (alone and happens(rng, 0.6)):
        return rng.choice(("throughout", "throughout the period"))
    return f"in the {first} and {second}"


def noun_of(period: Period, names: Sequence[str], rng: random.Random) -> str:
    """Such as "a 70% chance of rain", "likely rain", "sunshine"."""
    sky = SKIES[period.sky]
    if period.chance is None:
        return rng.choice(sky.nouns + sky.day_nouns if DAYLIGHT.issuperset(names) else sky.nouns)
    noun = rng.choice(sky.nouns)
    if happens(rng, 0.5):
        return chance_of(noun, period.chance, rng)
    likelihood = next(likelihood for likelihood in LIKELIHOODS if period.chance in likelihood.chances)
    own = likelihood.plain + (likelihood.plural if is_plural(period.sky) else ())
    return rng.choice([form.format(noun) for form in likelihood.nouns] + [form.format(period.sky) for form in own])


def clause_of(period: Period, rng: random.Random) -> str:
    """Such as "rain is likely", "there is a 70% chance of rain", "skies are clear"."""
    sky = SKIES[period.sky]
    if period.chance is None:
        return rng.choice(("skies will be {}", "it will be {}")).format(rng.choice(sky.states))
    noun = rng.choice(sky.nouns)
    if happens(rng, 0.5):
        return f"there is {chance_of(noun, period.chance, rng)}"
    likelihood = next(likelihood for likelihood in LIKELIHOODS if period.chance in likelihood.chances)
    return rng.choice(likelihood.clauses).format(noun, be="are" if is_plural(noun) else "is")


def chance_of(noun: str, chance: int, rng: random.Random) -> str:
    """Such as "a 70% chance of rain"."""
    article = "an" if str(chance).startswith("8") else "a"
    return f"{article} {chance}{rng.choice(('%', ' percent'))} chance of {noun}"


def is_plural(noun: str) -> bool:
    """Whether the noun takes "are"."""
    return noun.partition(" of ")[0].endswith("s")


def measure_phrases(forecast: ForecastRecord, rng: random.Random) -> list[str]:
    """Temperatures, and the strongest wind; a weak one is mentioned in half of the bulletins."""
    wind = forecast.strongest
    phrases = [temperature_phrase(forecast.low, forecast.high, rng)]
    if wind.speed >= BREEZE or happens(rng, 0.5):
        phrases.append(wind_phrase(wind, rng))
    return phrases


def temperature_phrase(low: int, high: int, rng: random.Random) -> str:
    """Such as "highs near 7 and lows around minus 1"."""
    minus = rng.choice(("-", "minus "))
    if happens(rng, 0.4):
        return rng.choice(RANGES).format(low=degrees(low, minus), high=degrees(high, minus))
    return rng.choice(EXTREMES).format(low=near(low, minus, rng), high=near(high, minus, rng))


def degrees(value: int, minus: str) -> str:
    """A number with `minus` as its sign."""
    return str(value) if value >= 0 else f"{minus}{-value}"


def near(value: int, minus: str, rng: random.Random) -> str:
    """Such as "near 7", or "in the mid 20s"."""
    if value >= TENS_FROM and happens(rng, 0.4):
        part = next(part for part, digits in TENS.items() if value % 10 in digits)
        return f"in the {part} {value // 10}0s"
    return f"{rng.choice(('near', 'around', 'of'))} {degrees(value, minus)}"


def wind_phrase(wind: Wind, rng: random.Random) -> str:
    """Such as "northwest winds at 40 km/h gusting to 65"."""
    direction = DIRECTIONS[wind.direction]
    forms = LIGHT_WINDS if wind.speed <= CALM else WINDS
    phrase = rng.choice(forms).format(direction=direction, speed=wind.speed)
    return phrase if wind.gust is None else phrase + rng.choice(GUSTS).format(wind.gust)
