"""Numbers, dates, codes and names of texts; expected items are listed by hand."""

import pytest

from understudy.evaluation.source_items import number_forms, read_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the price is 1,234.5 EUR", ["1,234.5", "EUR"]),
        ("It weighs 5kg, the 3rd of 12-month tests in mid-2024.", ["5", "3", "12", "2024"]),
        ("Order KX-4711 from Berlin. Tomorrow it leaves for New York", ["KX-4711", "Berlin", "New", "York"]),
        ("Angela met angela", []),
        ("ALL CAPITALS, 7", ["7"]),
        ("due 2024-05-03 or May 4th, 2024", ["2024-05-03", "May 4th, 2024"]),
        ('{"city": "Oslo", "degrees": 5}', ["5", "Oslo"]),
        ("订单里有59件书本", ["59"]),
        ("في الطلب ٤٥ قطعة", ["45"]),
        ("आदेश में ४५ सेब", ["45"]),
        ("В заказе из Москвы 5 ламп", ["5", "Москвы"]),
        ("1 234 567 people", ["1 234 567"]),
        ("nothing to see", []),
        ("", []),
    ],
)
def test_items_of_a_text(text: str, expected: list[str]) -> None:
    """In the order dates, numbers and codes, names."""
    assert [item.text for item in read_text(text).items] == expected


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("007", {"7"}),
        ("5.0", {"5"}),
        ("12,5", {"12.5"}),
        ("1,234", {"1.234", "1234"}),
        ("1.234", {"1.234", "1234"}),
        ("1,234.50", {"1234.5"}),
        ("1.234,5", {"1234.5"}),
        ("1,234,567", {"1234567"}),
        ("12,34,567", {"1234567"}),
        ("10.0.0.1", {"10.0.0.1"}),
        ("0", {"0"}),
        ("0.0", {"0"}),
    ],
)
def test_what_a_number_may_mean(token: str, expected: set[str]) -> None:
    """Commas and periods group digits or begin the fraction, by language."""
    assert number_forms(token) == expected


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("1234.5 EUR", "it is 1,234.5 euros"),
        ("1234.5", "es sind 1.234,50"),
        ("1\u202f234", "about 1,234"),
        ("1 234 567", "1,234,567"),
        ("five apples", "5 apples"),
        ("5 apples", "it has 5"),
        ("５ apples", "5"),
        ("٤٥", "45"),
        ("day 2024-05-03", "on 3 May 2024"),
        ("day 2024-05-03", "on May 3"),
        ("2024年5月3日", "on 2024-05-03"),
        ("day 05/06/2024", "on 6 May 2024"),
        ("day 3, month 5, year 2024", "on 2024-05-03"),
        ("flight KX4711", "flight KX 4711"),
        ("a covid 19 case", "a COVID-19 case"),
        ("goes to oslo", "we go to Oslo"),
    ],
)
def test_an_item_is_stated_in_another_form(source: str, output: str) -> None:
    """Nothing of the output is invented."""
    assert [item.text for item in read_text(output).items if not read_text(source).states(item)] == []


@pytest.mark.parametrize(
    ("source", "output", "invented"),
    [
        ("price 45", "it costs 47", ["47"]),
        ("A12", "unit A1", ["A1"]),
        ("day 2024-05-03", "on 4 May 2024", ["4 May 2024"]),
        ("2024-05-03 and 2024-06-04", "on 2024-05-04", ["2024-05-04"]),
        ("we go to Austria", "we go to Australia", ["Australia"]),
        ("at 12:30", "at 12:45", ["45"]),
        ("1.5", "15", ["15"]),
    ],
)
def test_another_value_is_another_item(source: str, output: str, invented: list[str]) -> None:
    """However similar they are."""
    assert [item.text for item in read_text(output).items if not read_text(source).states(item)] == invented
