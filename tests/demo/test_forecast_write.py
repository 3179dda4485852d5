import random
import re

from understudy.demo.forecast_record import ForecastRecord, Period, Wind, draw_forecasts
from understudy.demo.forecast_write import group_periods, in_order, write_bulletin

WEAK, STRONG = Wind("N", 5), Wind("S", 40)


def forecast(*periods: Period, hazards: tuple[str, ...] = ()) -> ForecastRecord:
    """A forecast with these periods."""
    return ForecastRecord("Norvik", "Tuesday", 3, 9, periods, hazards)


def written(facts: ForecastRecord, count: int = 200) -> list[str]:
    """Bulletins of one forecast."""
    rng = random.Random(0)
    return [write_bulletin(facts, rng) for _ in range(count)]


def test_one_forecast_has_many_bulletins() -> None:
    """Among two hundred texts for two periods, at least 150 differ."""
    periods = Period("morning", "rain", 60, STRONG), Period("night", "cloudy", None, WEAK)

    assert len(set(written(forecast(*periods)))) >= 150


def test_bulletins_are_one_to_three_plain_sentences() -> None:
    """Each begins with a capital or a number, ends with a full stop, and is no longer than 70 words."""
    rng = random.Random(1)
    for _, facts in zip(range(300), draw_forecasts(1), strict=False):
        text = write_bulletin(facts, rng)

        assert re.fullmatch(r"([A-Z][^.]*\.)( [A-Z][^.]*\.){0,2}", text), text
        assert len(text.split()) <= 70
        assert not re.search(r"\b(a [8aeiou]|  |and and|\{|\})", text), text


def test_periods_of_the_same_weather_may_be_grouped() -> None:
    """Neighbors always are; a later period joins an earlier one in some bulletins."""
    rain, clear = ("rain", 60), ("clear", None)
    periods = [
        Period(name, *weather, WEAK)
        for name, weather in zip(("morning", "evening", "night"), (rain, clear, rain), strict=True)
    ]
    groupings = {tuple(names for _, names in group_periods(periods, random.Random(seed))) for seed in range(20)}

    assert groupings == {(("morning",), ("evening",), ("night",)), (("morning", "night"), ("evening",))}


def test_weather_that_returns_does_not_turn_into_another() -> None:
    """Rain in the morning and overnight does not give way to clear skies by evening."""
    rain, clear = ("morning", "night"), ("evening",)
    weather = Period("morning", "rain", 60, WEAK)

    assert not in_order([(weather, rain), (weather, clear)])
    assert in_order([(weather, ("morning", "evening")), (weather, ("night",))])


def test_sunshine_occurs_by_day_only() -> None:
    """A clear night is never sunny; a clear morning is in some bulletins."""
    at_night = " ".join(written(forecast(Period("night", "clear", None, WEAK))))
    by_day = " ".join(written(forecast(Period("morning", "clear", None, WEAK))))

    assert not re.search("sun", at_night.replace("Sunday", ""))
    assert "sunshine" in by_day


def test_a_weak_wind_is_mentioned_in_some_bulletins_only() -> None:
    """Optional facts are stated in some bulletins and left out of others."""
    texts = written(forecast(Period("morning", "cloudy", None, WEAK)))

    assert 0 < sum("wind" in text for text in texts) < len(texts)
