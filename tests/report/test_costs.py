import pytest

from understudy.report.api_facts import ApiResponseFacts
from understudy.report.cost_facts import CostFacts
from understudy.report.costs import cost_numbers, cost_sentences, run_costs
from understudy.report.facts import Facts
from understudy.report.formatting import SPACE, THIN
from understudy.report.page import render
from understudy.report.tables import costs_table


def plain(text: str) -> str:
    """The text with ordinary spaces."""
    return text.replace(THIN, " ").replace(SPACE, " ")


def api_teacher(spent: float | None, request_cost: float | None, *, texts: int = 1) -> ApiResponseFacts:
    """The requests of a run with an API teacher."""
    return {
        "model": "some-model", "inputs": 40, "requests": 43, "texts": 77, "with_logprobs": 0, "rejected": {},
        "failed": {}, "without_reference": {}, "too_long": 0, "spent": spent, "request_cost": request_cost,
        "request_texts": texts,
    }  # fmt: skip


def costs_of(facts: Facts, *, machine_per_hour: float | None, api: ApiResponseFacts | None = None) -> CostFacts:
    """The costs, which must be known."""
    for system, throughput in zip(facts["systems"], (10.0, 50.0, 40.0), strict=True):
        system["throughput_per_s"] = throughput
    if api:
        facts["systems"][0]["throughput_per_s"] = None
    facts["stages"] = [
        {"name": "teacher", "key": "a", "seconds": 5400.0, "reused": True},
        {"name": "student", "key": "b", "seconds": 1800.0, "reused": False},
    ]
    costs = run_costs(
        facts["systems"], facts["stages"], method="joint_teaching", machine_per_hour=machine_per_hour, api=api
    )
    assert costs
    return costs


def test_the_machines_price_is_divided_by_the_throughput(facts: Facts) -> None:
    """At 3.60 per hour, a thousand outputs at 10, 50 and 40 per second take 100, 20 and 25 s, at 0.001 each."""
    costs = costs_of(facts, machine_per_hour=3.6)

    assert costs["per_1000"] == pytest.approx({"teacher": 0.1, "fine_tuned": 0.02, "joint_teaching": 0.025})
    assert costs["distillation"] == pytest.approx(7.2)  # two hours
    assert costs["break_even"] == 96_000  # 7.20 / (0.100 - 0.025) per thousand


def test_an_api_teacher_costs_what_its_requests_cost(facts: Facts) -> None:
    """The bill of 12.80 and two hours at 3.60 are 20.00; each request saves 0.002 - 0.000025."""
    costs = costs_of(facts, machine_per_hour=3.6, api=api_teacher(12.8, 0.002))

    assert costs["per_1000"]["teacher"] == pytest.approx(2.0)
    assert costs["distillation"] == pytest.approx(20.0)
    assert costs["break_even"] == 10_127  # 20 / 0.001975 = 10126.58


def test_without_prices_there_are_no_costs(facts: Facts) -> None:
    """Nothing is assumed."""
    arguments = {"method": "joint_teaching", "machine_per_hour": None}

    assert run_costs(facts["systems"], facts["stages"], api=None, **arguments) is None  # type: ignore[arg-type]
    assert run_costs(facts["systems"], facts["stages"], api=api_teacher(None, None), **arguments) is None  # type: ignore[arg-type]
    assert "1,000 requests" not in costs_table(facts).head
    assert cost_numbers(facts) == []


def test_a_student_that_saves_nothing_has_no_break_even(facts: Facts) -> None:
    """Its cost is shown all the same."""
    facts["costs"] = costs_of(facts, machine_per_hour=3.6, api=api_teacher(1.0, 0.00002))

    assert facts["costs"]["break_even"] is None
    assert "no break-even" in " ".join(cost_sentences(facts["costs"], "joint_teaching"))
    assert plain(cost_numbers(facts)[0].detail) == "teacher 0.020"


@pytest.mark.parametrize(
    ("machine", "api", "key"),
    [(None, api_teacher(1.0, 0.002), "evaluation.price_per_hour"), (3.6, api_teacher(None, None), "endpoint.price")],
)
def test_a_missing_price_is_named(facts: Facts, machine: float | None, api: ApiResponseFacts, key: str) -> None:
    """The costs that are known are shown; the key of the other price is in the sentence."""
    costs = costs_of(facts, machine_per_hour=machine, api=api)

    assert costs["break_even"] is None
    assert costs["distillation"] is None
    assert key in cost_sentences(costs, "joint_teaching", api)[0]


def test_the_page_shows_costs_and_break_even(facts: Facts) -> None:
    """As a tile, as a column, and in sentences that say how they were measured."""
    del facts["curves"], facts["pool"]  # figures are slow and not needed here
    api = api_teacher(12.8, 0.002, texts=2)
    facts["costs"], facts["api_responses"] = costs_of(facts, machine_per_hour=3.6, api=api), api
    html = plain(render(facts))

    assert [plain(row[1].value) for row in costs_table(facts).rows] == ["2.00", "0.020", "0.025"]
    for text in (
        "Cost of 1,000 requests",
        "break-even after 10 127 requests",
        "Distillation cost 20.00: 12.80 for requests and 2 h 00 min of the machine at 3.60 per hour.",
        "it has paid for itself after 10 127 requests",
        "mean cost of the answered requests of 2 texts each",
        "divided by the measured throughput",
    ):
        assert text in html
