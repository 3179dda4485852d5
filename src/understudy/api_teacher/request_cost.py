"""The mean cost of a request to an API teacher, as its journal records it."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RequestCost:
    """The mean cost of requests for the same number of texts."""

    texts: int
    """Texts of each request."""
    mean: float


def mean_request_cost(journal: Path) -> RequestCost | None:
    """The mean cost of the answered requests for the fewest texts, which are most like requests in production.

    Failed and repeated requests are left out. None if no answered request has a known cost.

    Args:
        journal: the file of an `api_teacher.journal.Journal`.
    """
    costs: dict[int, list[float]] = {}
    with journal.open(encoding="utf-8") as file:
        for event in map(json.loads, file):
            if event.get("choices") and event.get("cost") is not None:
                costs.setdefault(len(event["choices"]), []).append(event["cost"])
    if not costs:
        return None
    fewest = min(costs)
    return RequestCost(fewest, sum(costs[fewest]) / len(costs[fewest]))
