"""The closed vocabulary of the forecast task: places, skies, likelihoods, hazards, and the phrases for each.

`forecast_write.py` writes with these tables and `forecast_check.py` reads with them.
"""

from dataclasses import dataclass

FRONTS = ("Nor", "Hal", "Ask", "Bran", "Vin", "Els", "Fal", "Grim", "Hol", "Kar", "Lin", "Mar", "Ost", "Stor", "Tor")
BACKS = ("vik", "by", "mark", "ford", "stad", "haven", "sund", "ness", "wick", "field", "dale", "berg")
PLACES = tuple(front + back for front in FRONTS for back in BACKS)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PERIODS = ("morning", "afternoon", "evening", "night")
DIRECTIONS = {
    "N": "north",
    "NE": "northeast",
    "E": "east",
    "SE": "southeast",
    "S": "south",
    "SW": "southwest",
    "W": "west",
    "NW": "northwest",
}


@dataclass(frozen=True, slots=True)
class Sky:
    """The phrases for a kind of sky or precipitation; no phrase belongs to two kinds."""

    nouns: tuple[str, ...]
    day_nouns: tuple[str, ...] = ()
    """Nouns for daylight only."""
    states: tuple[str, ...] = ()
    """Adjectives of dry skies; empty for precipitation."""


SKIES = {
    "clear": Sky(("clear skies", "clear weather"), ("sunshine", "sunny weather", "sunny skies"), ("clear",)),
    "partly cloudy": Sky(("broken cloud", "partly cloudy skies"), ("sunny spells",), ("partly cloudy",)),
    "cloudy": Sky(("cloudy skies", "thick cloud", "overcast skies"), (), ("cloudy", "overcast")),
    "rain": Sky(("rain", "outbreaks of rain")),
    "showers": Sky(("showers", "passing showers")),
    "drizzle": Sky(("drizzle", "patchy drizzle")),
    "snow": Sky(("snow", "snowfall")),
    "sleet": Sky(("sleet",)),
    "storms": Sky(("storms", "thunderstorms")),
}


@dataclass(frozen=True, slots=True)
class Likelihood:
    """The terms for a range of chances, after the convention of the US National Weather Service."""

    chances: tuple[int, ...]
    """In percent."""
    terms: tuple[str, ...]
    """The words that mark this range in a text; empty: the range of precipitation without a qualifier."""
    nouns: tuple[str, ...]
    plain: tuple[str, ...]
    """Patterns for the name of the sky."""
    plural: tuple[str, ...]
    """Patterns for the name of the sky if it is a plural."""
    clauses: tuple[str, ...]


# In this order: "a slight chance" holds "chance".
LIKELIHOODS = (
    Likelihood(
        chances=(20,),
        terms=("slight chance", "isolated"),
        nouns=("a slight chance of {}",),
        plain=(),
        plural=("isolated {}",),
        clauses=("there is a slight chance of {}",),
    ),
    Likelihood(
        chances=(30, 40, 50),
        terms=("chance", "possible", "scattered"),
        nouns=("a chance of {}",),
        plain=("possible {}",),
        plural=("scattered {}",),
        clauses=("{} {be} possible", "there is a chance of {}"),
    ),
    Likelihood(
        chances=(60, 70),
        terms=("likely",),
        nouns=(),
        plain=("likely {}",),
        plural=(),
        clauses=("{} {be} likely",),
    ),
    Likelihood(
        chances=(80, 90),
        terms=(),
        nouns=("{}",),
        plain=(),
        plural=("widespread {}",),
        clauses=("{} {be} expected", "there will be {}"),
    ),
)
CHANCES = tuple(chance for likelihood in LIKELIHOODS for chance in likelihood.chances)


@dataclass(frozen=True, slots=True)
class Hazard:
    """The phrases for a hazard, and the words by which it is recognized."""

    nouns: tuple[str, ...]
    cues: tuple[str, ...]


HAZARDS = {
    "frost": Hazard(("frost", "ground frost"), ("frost", "frosty")),
    "ice": Hazard(("icy roads", "ice on the roads"), ("ice", "icy")),
    "fog": Hazard(("fog", "dense fog"), ("fog", "foggy")),
    "flooding": Hazard(("flooding", "local flooding"), ("flooding", "floods", "flood")),
    "heat": Hazard(("extreme heat", "severe heat"), ("heat",)),
    "gales": Hazard(("gales", "damaging gales"), ("gales", "gale")),
    "wildfire": Hazard(("wildfires", "wildfire danger"), ("wildfire", "wildfires")),
    "avalanche": Hazard(("avalanches", "avalanche danger"), ("avalanche", "avalanches")),
}

CALM = 10
"""Winds up to this speed, in km/h, are light."""
BREEZE = 20
"""The strongest wind must be mentioned from this speed on, in km/h."""
TENS_FROM = 20
TENS = {"lower": range(4), "mid": range(4, 7), "upper": range(7, 10)}
"""The parts of "the mid 20s": last digits of a temperature of `TENS_FROM` degrees or more."""
