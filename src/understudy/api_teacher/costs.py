"""What requests cost by our own count, which bounds the budget whatever a server reports."""

import math

from understudy.api_teacher.request_types import Response
from understudy.config.endpoint import Endpoint, Price

MILLION = 1_000_000
CHAT_OVERHEAD = 64
"""The most tokens that a chat template may add to a request."""
LONGEST_TOKEN = 16
"""Characters per token of a text, at most: a server that reports fewer tokens reports too few."""
BATCH_DISCOUNT = 0.5
"""The price of a request in the batch API, as a share of the price."""


def max_cost(endpoint: Endpoint, source: str, texts: int, *, share: float = 1.0) -> float:
    """The maximum cost of a request: a token has at least one byte, and a text ends at max_tokens.

    Args:
        endpoint: the prompt, `max_tokens` and the price.
        source: the input.
        texts: the number of texts requested.
        share: of the price, such as `BATCH_DISCOUNT`.
    """
    return share * _cost(endpoint.price, _max_input_tokens(endpoint, source), texts * endpoint.max_tokens)


def response_cost(response: Response, endpoint: Endpoint, source: str, texts: int) -> float | None:
    """The cost of a response; None, for its maximum, if the server reports no numbers of tokens that can be true.

    They must lie between our own bounds: a token has at most `LONGEST_TOKEN` characters and at least one byte.
    """
    prompt = (endpoint.system or "") + endpoint.prompt.replace("{source}", source)
    least_input = _min_tokens(prompt)
    least_output = sum(_min_tokens(choice.text) for choice in response.choices)
    most_input, most_output = _max_input_tokens(endpoint, source), texts * endpoint.max_tokens
    given = response.input_tokens, response.output_tokens
    if given[0] is None or given[1] is None:
        return None
    if not (least_input <= given[0] <= most_input and least_output <= given[1] <= most_output):
        return None
    return _cost(endpoint.price, given[0], given[1])


def shown_amount(value: float) -> str:
    """An amount of money to the hundredth; small ones to two significant digits."""
    decimals = 2 if value <= 0 else max(2, 1 - math.floor(math.log10(value)))
    return f"{value:.{decimals}f}"


def _max_input_tokens(endpoint: Endpoint, source: str) -> int:
    prompt_bytes = len((endpoint.system or "").encode()) + len(endpoint.prompt.replace("{source}", source).encode())
    return prompt_bytes + CHAT_OVERHEAD


def _min_tokens(text: str) -> int:
    return -(
        -len("".join(text.split())) // LONGEST_TOKEN
    )  # rounded up; white space: one token may be a whole line of spaces


def _cost(price: Price | None, input_tokens: int, output_tokens: int) -> float:
    return 0.0 if price is None else (price.input * input_tokens + price.output * output_tokens) / MILLION
