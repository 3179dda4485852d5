"""The closed vocabulary of the forecast task: places, skies, likelihoods, hazards, and how each may be said.

One table serves both sides: what `forecast_write.py` may say, `forecast_check.py` must be able to read back.
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
    """How a kind of sky or precipitation is said; every phrase stands for this kind alone."""

    nouns: tuple[str, ...]
    day_nouns: tuple[str, ...] = ()
    """Said of daylight only."""
    states: tuple[str, ...] = ()
    """What dry skies are; none: it is wet."""


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
    """What tells this range in a text; none: it is the range of precipitation spoken of without a term."""
    nouns: tuple[str, ...]
    plain: tuple[str, ...]
    """Said of the sky's own name."""
    plural: tuple[str, ...]
    """Said of the sky's own name if it is a plural."""
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
    """How a danger is said, and the words that tell it."""

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
