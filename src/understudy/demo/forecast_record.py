"""Forecasts as records: drawn at random, written as a source, and parsed from one.

    Norvik Tuesday | temp -1 to 7 | morning rain 70% NW 40 gust 65 | evening clear N 5 | hazard frost

Temperatures are those of the whole day; wind is a direction, a speed and sometimes gusts, in km/h. Words and numbers
are separated by spaces, as in a bulletin: source and target share their tokens, so a model soon learns to copy.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from understudy.demo.forecast_words import CHANCES, DAYS, DIRECTIONS, HAZARDS, PERIODS, PLACES, SKIES
from understudy.errors import DataError

SOURCE = re.compile(
    r"(?P<place>\w+) (?P<day>\w+) \| temp (?P<low>-?\d+) to (?P<high>-?\d+)"
    rf"(?P<periods>(?: \| (?:{'|'.join(PERIODS)}) [^|]+)+?)(?P<hazards>(?: \| hazard \w+)*)"
)
PERIOD = re.compile(
    r" \| (?P<name>\w+) (?P<sky>[a-z ]+?)(?: (?P<chance>\d+)%)? (?P<direction>[NESW]{1,2}) (?P<speed>\d+)"
    r"(?: gust (?P<gust>\d+))?(?= \||$)"
)
GUSTY = 25
"""The lowest speed of a wind with gusts, in km/h."""
GALE = 65
"""The lowest speed of gusts that are gales, in km/h."""
FROST, ICE, WILDFIRE, HEAT = 2, 0, 26, 29
"""Degrees: the highest low with frost and with ice, the lowest high with wildfires and with heat."""
THAW, THUNDER = 1, 16
"""Degrees: rain needs a high above THAW, snow a low of at most THAW; storms need a high of at least THUNDER."""


@dataclass(frozen=True, slots=True)
class Wind:
    """A wind in km/h."""

    direction: str
    speed: int
    gust: int | None = None


@dataclass(frozen=True, slots=True)
class Period:
    """A part of the day."""

    name: str
    sky: str
    chance: int | None
    """Chance of precipitation in percent; None for dry skies."""
    wind: Wind


@dataclass(frozen=True, slots=True)
class ForecastRecord:
    """The facts of one place on one day."""

    place: str
    day: str
    low: int
    high: int
    """Degrees Celsius."""
    periods: tuple[Period, ...]
    hazards: tuple[str, ...]

    @property
    def strongest(self) -> Wind:
        """The wind that a bulletin mentions; periods of equal speed have equal winds."""
        return max((period.wind for period in self.periods), key=lambda wind: wind.speed)


def linearize(forecast: ForecastRecord) -> str:
    """The forecast as a source."""
    parts = [f"{forecast.place} {forecast.day}", f"temp {forecast.low} to {forecast.high}"]
    for period in forecast.periods:
        chance = "" if period.chance is None else f" {period.chance}%"
        gust = "" if period.wind.gust is None else f" gust {period.wind.gust}"
        parts.append(f"{period.name} {period.sky}{chance} {period.wind.direction} {period.wind.speed}{gust}")
    parts += [f"hazard {hazard}" for hazard in forecast.hazards]
    return " | ".join(parts)


def parse_forecast(source: str) -> ForecastRecord:
    """Parses a source.

    Args:
        source: as `linearize` writes it.

    Returns:
        The forecast of which `source` is the linearization.

    Raises:
        DataError: if the source is not such a linearization.
    """
    found = SOURCE.fullmatch(source)
    if found is not None:
        periods = tuple(parse_period(match) for match in PERIOD.finditer(found["periods"]))
        hazards = tuple(found["hazards"].split(" | hazard ")[1:])
        forecast = ForecastRecord(found["place"], found["day"], int(found["low"]), int(found["high"]), periods, hazards)
        if linearize(forecast) == source and is_known(forecast):
            return forecast
    raise DataError(
        f"not a source of the forecast task: {source[:80]!r}; its checker needs sources like "
        "'Norvik Tuesday | temp -1 to 7 | morning rain 70% NW 20 | hazard frost'"
    )


def parse_period(match: re.Match[str]) -> Period:
    """The period of one match."""
    chance, gust = match["chance"], match["gust"]
    wind = Wind(match["direction"], int(match["speed"]), int(gust) if gust else None)
    return Period(match["name"], match["sky"], int(chance) if chance else None, wind)


def is_known(forecast: ForecastRecord) -> bool:
    """Whether the tables have words for all of it, and exactly the periods with precipitation have a chance."""
    return (
        forecast.place in PLACES
        and forecast.day in DAYS
        and all(hazard in HAZARDS for hazard in forecast.hazards)
        and all(period.sky in SKIES and period.wind.direction in DIRECTIONS for period in forecast.periods)
        and all((period.chance is None) == bool(SKIES[period.sky].states) for period in forecast.periods)
    )


def draw_forecasts(seed: int) -> Iterator[ForecastRecord]:
    """An endless stream of forecasts, the same for the same seed; forecasts may repeat."""
    rng = random.Random(seed)
    while True:
        low = rng.choice((rng.randint(-12, 1), rng.randint(0, 10), rng.randint(9, 22)))
        high = low + rng.randint(3, 12)
        periods = draw_periods(rng, low, high)
        hazards = draw_hazards(rng, low, high, periods)
        yield ForecastRecord(rng.choice(PLACES), rng.choice(DAYS), low, high, periods, hazards)


def draw_periods(rng: random.Random, low: int, high: int) -> tuple[Period, ...]:
    """One to three periods in the order of the day; weather and wind often stay the same."""
    count = rng.choices((1, 2, 3), (25, 45, 30))[0]
    names = sorted(rng.sample(PERIODS, count), key=PERIODS.index)
    speeds = rng.sample(range(5, 65, 5), count)
    skies = possible_skies(low, high)
    weather = [draw_weather(rng, skies)]
    winds = [Wind(rng.choice(tuple(DIRECTIONS)), speeds[0])]
    for speed in speeds[1:]:
        weather.append(weather[-1] if happens(rng, 0.3) else draw_weather(rng, skies))
        direction = winds[-1].direction if happens(rng, 0.5) else rng.choice(tuple(DIRECTIONS))
        winds.append(winds[-1] if happens(rng, 0.2) else Wind(direction, speed))
    top = max(wind.speed for wind in winds)
    if top >= GUSTY and happens(rng, 0.5):
        gust = top + rng.randrange(15, 35, 5)
        winds = [Wind(wind.direction, top, gust) if wind.speed == top else wind for wind in winds]
    return tuple(
        Period(name, sky, chance, wind) for name, (sky, chance), wind in zip(names, weather, winds, strict=True)
    )


def possible_skies(low: int, high: int) -> tuple[str, ...]:
    """The skies that these temperatures allow; dry ones are twice as probable."""
    dry = ("clear", "partly cloudy", "cloudy")
    wet = ("rain", "showers", "drizzle") if high > THAW else ()
    frozen = ("snow", "sleet") if low <= THAW else ()
    hot = ("storms",) if high >= THUNDER else ()
    return dry + dry + wet + frozen + hot


def draw_weather(rng: random.Random, skies: Sequence[str]) -> tuple[str, int | None]:
    """A sky, and its chance of precipitation, None for a dry one."""
    sky = rng.choice(skies)
    return sky, None if SKIES[sky].states else rng.choice(CHANCES)


def draw_hazards(rng: random.Random, low: int, high: int, periods: Sequence[Period]) -> tuple[str, ...]:
    """Up to two of the hazards that this weather allows."""
    skies = {period.sky for period in periods}
    dry = all(period.chance is None for period in periods)
    allowed = {
        "frost": low <= FROST,
        "ice": low <= ICE and not dry,
        "fog": "clear" in skies or "cloudy" in skies,
        "flooding": bool(skies & {"rain", "storms"}),
        "heat": high >= HEAT,
        "gales": any((period.wind.gust or 0) >= GALE for period in periods),
        "wildfire": high >= WILDFIRE and dry,
        "avalanche": "snow" in skies,
    }
    candidates = [name for name in HAZARDS if allowed[name]]
    count = min(len(candidates), rng.choices((0, 1, 2), (55, 37, 8))[0])
    return tuple(sorted(rng.sample(candidates, count)))


def happens(rng: random.Random, share: float) -> bool:
    """True with probability `share`."""
    return rng.random() < share
