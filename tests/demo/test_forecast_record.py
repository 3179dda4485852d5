from itertools import islice

import pytest

from understudy.demo.forecast_record import ForecastRecord, Period, Wind, draw_forecasts, linearize, parse_forecast
from understudy.demo.forecast_words import PERIODS, SKIES
from understudy.errors import DataError

FORECAST = ForecastRecord(
    place="Norvik",
    day="Tuesday",
    low=-1,
    high=7,
    periods=(Period("morning", "rain", 70, Wind("NW", 40, 65)), Period("evening", "partly cloudy", None, Wind("N", 5))),
    hazards=("fog", "frost"),
)
SOURCE = (
    "Norvik Tuesday | temp -1 to 7 | morning rain 70% NW 40 gust 65 | evening partly cloudy N 5 "
    "| hazard fog | hazard frost"
)


def test_a_source_holds_every_fact_in_one_line() -> None:
    """Chance, gusts and hazards are written if there are any."""
    assert linearize(FORECAST) == SOURCE


def test_parsing_a_source_gives_its_forecast() -> None:
    """Parsing inverts writing for all drawn forecasts."""
    for forecast in [FORECAST, *islice(draw_forecasts(5), 300)]:
        assert parse_forecast(linearize(forecast)) == forecast


def test_drawn_forecasts_are_consistent() -> None:
    """Low is below high, periods are in order, dry skies have no chance, and one wind is the strongest."""
    for forecast in islice(draw_forecasts(6), 500):
        names = [period.name for period in forecast.periods]
        top = max(period.wind.speed for period in forecast.periods)

        assert forecast.low < forecast.high
        assert names == sorted(set(names), key=PERIODS.index)
        assert all((period.chance is None) == bool(SKIES[period.sky].states) for period in forecast.periods)
        assert {period.wind for period in forecast.periods if period.wind.speed == top} == {forecast.strongest}


@pytest.mark.parametrize(
    "source",
    [
        "",
        "Norvik on Tuesday",
        SOURCE.replace(" | temp -1 to 7", ""),
        SOURCE.replace("to 7", "to warm"),
        SOURCE.replace("rain 70%", "rain"),
        SOURCE.replace("rain", "frogs"),
        SOURCE.replace("NW", "NN"),
        SOURCE.replace("Norvik", "Paris"),
        SOURCE.replace("Tuesday", "Someday"),
        SOURCE.replace("hazard fog", "hazard frogs"),
        SOURCE.replace("evening", "nightfall"),
        SOURCE + " and more",
        "Norvik Tuesday | temp -1 to 7",
    ],
)
def test_text_that_is_not_a_source_is_refused(source: str) -> None:
    """The message has the text and an example of a source."""
    with pytest.raises(DataError, match=r"not a source of the forecast task: .*sources like 'Norvik Tuesday"):
        parse_forecast(source)
