"""The facts of what requests and distillation cost: a part of `report.json`."""

from typing import TypedDict


class CostFacts(TypedDict):
    """What requests cost, in the currency of the prices that the recipe gives; `report/costs.py` has the formulas."""

    per_1000: dict[str, float]
    """System -> the cost of 1,000 requests; only systems for which it is known."""
    machine_per_hour: float | None
    """The price of the machine that the recipe gives."""
    api: float | None
    """The cost of all requests to an API teacher; None without one or without its price."""
    hours: float
    """Time of all stages of the run, reused ones included."""
    distillation: float | None
    """Cost of making the student."""
    break_even: int | None
    """Requests after which the student has saved what it cost to make; None if it saves nothing or it is unknown."""
