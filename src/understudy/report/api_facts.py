"""The facts of an API teacher in `report.json`."""

from typing import NotRequired, TypedDict


class Latency(TypedDict):
    """Milliseconds per input."""

    p50: float | None
    p95: float | None


class ApiResponseFacts(TypedDict):
    """The requests sent to an API teacher and the pseudo-targets made from its responses."""

    model: str
    inputs: int
    requests: int
    """All requests with these settings, including those of earlier runs."""
    texts: int
    """Responses used as pseudo-targets."""
    with_logprobs: int
    """Of these, the number with token log-probabilities."""
    rejected: dict[str, int]
    """Reason -> number of responses that the filter rejected."""
    failed: dict[str, int]
    """Reason -> number of inputs without a response."""
    without_reference: dict[str, int]
    """Split -> number of inputs that are left out because they have no reference."""
    too_long: int
    """Pseudo-targets over the student's length limits, which are not used in training."""
    request_cost: NotRequired[float | None]
    """Mean cost of the answered requests for the fewest texts."""
    request_texts: NotRequired[int]
    """The number of texts of each of these requests."""
    latency_ms: NotRequired[Latency]
    """Of the answered requests, where the journal holds their times."""
    spent: float | None
    """Cost of all requests, in the currency of the price; None without a price."""
    logprob_alignment: NotRequired[dict[str, float]]
    """Shares of target positions by how the API log-probabilities map onto student tokens: exact, merged, text."""
