import random
import re
from itertools import islice

import pytest

from understudy.demo.forecast_check import SlotErrors, check_bulletin
from understudy.demo.forecast_record import draw_forecasts, linearize
from understudy.demo.forecast_write import write_bulletin
from understudy.errors import DataError

SOURCE = "Norvik Tuesday | temp -1 to 24 | morning rain 70% NW 40 gust 65 | evening clear N 5 | hazard frost"
TEXT = (
    "Tuesday in Norvik brings likely rain in the morning and clear skies by evening. "
    "Highs in the mid 20s and lows near minus 1, with northwest winds at 40 km/h gusting to 65. Watch for frost."
)
FACTS = 11
CALM = "Halby Friday | temp 3 to 9 | morning cloudy W 5 | afternoon snow 30% S 10 | night cloudy S 10"
CALM_TEXT = (
    "Halby, Friday: thick cloud in the morning and overnight, and a chance of snow in the afternoon. "
    "Highs of 9, lows of 3."
)


def errors(source: str, text: str) -> tuple[int, int, int]:
    """Numbers of wrong, missing and invented facts."""
    found = check_bulletin(source, text)
    return found.wrong, found.missing, found.invented


@pytest.mark.parametrize("seed", range(5))
def test_every_written_bulletin_has_no_errors(seed: int) -> None:
    """According to the checker, the writer states all required facts and nothing else."""
    rng = random.Random(seed)
    for forecast in islice(draw_forecasts(seed), 500):
        source, text = linearize(forecast), write_bulletin(forecast, rng)

        assert errors(source, text) == (0, 0, 0), f"{source}\n{text}"


def test_every_changed_number_is_an_error() -> None:
    """Every number of a bulletin is a checked fact."""
    rng = random.Random(9)
    for forecast in islice(draw_forecasts(9), 150):
        source, text = linearize(forecast), write_bulletin(forecast, rng)
        for number in re.finditer(r"\d+", text):
            changed = f"{text[: number.start()]}997{text[number.end() :]}"

            assert errors(source, changed) != (0, 0, 0), f"{source}\n{changed}"


def test_the_number_of_facts_depends_on_the_source_alone() -> None:
    """Place, day, two skies, one chance, low, high, direction, speed, gusts and a hazard, whatever the text."""
    assert check_bulletin(SOURCE, TEXT) == SlotErrors(facts=FACTS, wrong=0, missing=0, invented=0)
    assert check_bulletin(SOURCE, "").facts == FACTS


@pytest.mark.parametrize(
    ("fact", "other"),
    [
        ("Norvik", "Halby"),
        ("Tuesday", "Friday"),
        ("likely", "possible"),
        ("likely", "a 60% chance of"),
        ("clear", "cloudy"),
        ("mid", "upper"),
        ("minus 1", "1"),
        ("northwest", "southeasterly"),
        ("at 40", "up to 45"),
        ("to 65", "to 60"),
        ("frost", "dense fog"),
    ],
)
def test_another_value_is_one_wrong_fact(fact: str, other: str) -> None:
    """A replaced value counts once, not as a missing and an invented fact."""
    assert fact in TEXT
    assert errors(SOURCE, TEXT.replace(fact, other)) == (1, 0, 0)


def test_the_required_wind_is_the_strongest() -> None:
    """The wind of another period is wrong."""
    assert errors(SOURCE, TEXT.replace("northwest winds at 40 km/h", "north winds at 5 km/h")) == (2, 0, 0)


@pytest.mark.parametrize(
    ("sentence", "facts"),
    [
        (" Watch for frost.", 1),
        (TEXT[TEXT.index(" Highs") : TEXT.index(" Watch")], 5),
        (TEXT[: TEXT.index("Highs")], 5),
    ],
)
def test_a_removed_sentence_leaves_its_facts_missing(sentence: str, facts: int) -> None:
    """Each of its facts is counted."""
    assert errors(SOURCE, TEXT.replace(sentence, "")) == (0, facts, 0)


@pytest.mark.parametrize(
    "claim",
    ["Beware of flooding.", "Norvik is not Halby.", "Snow overnight.", "Gales.", "Rain in the evening."],
)
def test_an_added_claim_is_invented(claim: str) -> None:
    """A hazard, a place, a time or a sky that is not in the source."""
    assert errors(SOURCE, f"{TEXT} {claim}")[2] >= 1
    assert errors(SOURCE, f"{TEXT} {claim}")[:2] == (0, 0)


@pytest.mark.parametrize("text", ["", "colourless green ideas sleep", "the the the 12 12 of in"])
def test_gibberish_misses_everything(text: str) -> None:
    """Text without weather words states no fact."""
    assert errors(SOURCE, text) == (0, FACTS, 0)


@pytest.mark.parametrize("wind", ["", " Light winds.", " Light southerly winds.", " Winds from the south at 10 km/h."])
def test_a_weak_wind_may_be_mentioned(wind: str) -> None:
    """Below 20 km/h the strongest wind may be stated or left out."""
    assert errors(CALM, CALM_TEXT + wind) == (0, 0, 0)


def test_a_strong_wind_called_light_is_wrong() -> None:
    """Light winds have at most 10 km/h."""
    assert errors(SOURCE, TEXT.replace("northwest winds at 40 km/h", "light northwest winds,")) == (1, 0, 0)


@pytest.mark.parametrize(
    "sky",
    [
        "In the morning and overnight, it will be overcast; in the afternoon, snow is possible",
        "Cloudy skies in the morning before a 30 percent chance of snowfall by afternoon, then thick cloud at night",
        "Thick cloud in the morning, then a 30% chance of snow in the afternoon and cloudy skies overnight",
    ],
)
def test_times_are_read_in_any_position(sky: str) -> None:
    """Times may come before or after their clause, alone or in pairs."""
    assert errors(CALM, f"Halby, Friday: {sky}. Highs of 9, lows of 3.") == (0, 0, 0)


def test_weather_without_a_time_holds_for_all_periods() -> None:
    """Here it is correct for two periods and wrong for one, whose chance is missing."""
    assert errors(CALM, "Halby, Friday: thick cloud throughout. Highs of 9, lows of 3.") == (1, 1, 0)


def test_snow_without_a_qualifier_has_a_high_chance() -> None:
    """Precipitation without a qualifier means a chance of 80 percent or more."""
    assert errors(CALM, CALM_TEXT.replace("a chance of snow", "snow")) == (1, 0, 0)


def test_another_source_is_refused() -> None:
    """The checker reads sources of the forecast task only."""
    with pytest.raises(DataError, match="not a source of the forecast task"):
        check_bulletin("summarize: a text", TEXT)
