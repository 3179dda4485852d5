"""What a server accepts. Requests beyond it are refused with a sentence, nothing is truncated."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from understudy.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class ServerLimits:
    """Limits of one worker process."""

    body_bytes: int = 1_000_000
    """Size of a request (413 beyond it)."""
    queue: int = 256
    """Sources that wait for an engine (429 beyond it)."""
    timeout_s: float = 60.0
    """Time from the headers of a request to its answer (504 beyond it)."""
    teacher_s: float = 20.0
    """Time that the teacher's endpoint has for an answer, if one is configured; then the student's is returned."""
    teacher_requests: int = 64
    """Requests to that endpoint at a time; beyond it the student's answer is returned at once."""
    batch_tokens: int = 8_192
    """Source tokens, times texts per source, of one batch."""
    batch_wait_ms: float = 3.0
    """Time that the first source of a batch waits for others while an engine is idle."""


def server_limits(overrides: Iterable[str]) -> ServerLimits:
    """The limits after overrides of the form NAME=VALUE.

    Raises:
        ConfigError: for an unknown name, or a value that is not a positive number of its kind.
    """
    kinds: dict[str, type[int | float]] = {name: type(value) for name, value in asdict(ServerLimits()).items()}
    values: dict[str, Any] = {}
    for override in overrides:
        name, _, text = override.partition("=")
        if name not in kinds:
            raise unknown_name("limit", name, kinds)
        try:
            values[name] = kinds[name](text)
        except ValueError:
            values[name] = -1
        if not 0 < values[name] < float("inf"):
            what = "whole number" if kinds[name] is int else "number"
            raise ConfigError(f"the limit {name} is {text!r}; give a positive {what}, such as {name}=100")
    return ServerLimits(**values)
