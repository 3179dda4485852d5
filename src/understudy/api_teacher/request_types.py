"""What sending a request means: its response, its failure, and the function that sends it. No server, no HTTP."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from understudy.api_teacher.journal import CompletionChoice

LISTED_REASONS = 10


@dataclass(frozen=True)
class Response:
    """A server's response to one request."""

    choices: Sequence[CompletionChoice]
    input_tokens: int | None
    """None if the server does not report it."""
    output_tokens: int | None
    reasoning_tokens: int | None = None
    """Tokens of hidden reasoning among the output tokens."""


class RequestFailed(Exception):
    """A request that brought no text."""

    def __init__(
        self,
        reason: str,
        *,
        retryable: bool,
        billed: bool,
        retry_after_s: float = 0.0,
        unreachable: bool = False,
        refused: bool = False,
        message: str = "",
        param: object = None,
        of_input: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable
        """Whether the same request may succeed later."""
        self.billed = billed
        """Whether the provider may have billed it all the same."""
        self.retry_after_s = retry_after_s
        """The pause that the server requests."""
        self.unreachable = unreachable
        """Whether no connection to the server could be made; nothing was sent."""
        self.refused, self.message, self.param = refused, message, param
        """Whether the server refused the form of the request, and what it said of which parameter."""
        self.of_input = of_input
        """Whether the server says that it refuses this input, and not every one."""


def most_common(reasons: Counter[str]) -> dict[str, int]:
    """The most common reasons with their counts, and the sum of the others: a server's words may differ each time."""
    listed = reasons.most_common()
    others = sum(count for _, count in listed[LISTED_REASONS:])
    return dict(listed[:LISTED_REASONS]) | ({"other reasons": others} if others else {})


SendRequest = Callable[[str, int], Awaitable[Response]]
"""(source, number of texts) -> the response. Raises RequestFailed, or GenerationError if no request can succeed."""
