"""What a server accepts. Requests beyond it are refused with a sentence, nothing is truncated."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

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
    """Time that the first source of a batch waits for others while an engine is idle; none if they come one by one."""


@dataclass(frozen=True)
class ProxyLimits:
    """Limits of a recording proxy."""

    body_bytes: int = 50_000_000
    """Size of a request to a path that is recorded (413 beyond it); others are passed on as they arrive."""
    record_bytes: int = 1_000_000
    """Size of a request and of a response that are recorded; larger ones are passed on alone."""
    in_flight: int = 1_000
    """Requests without a complete response (429 beyond it)."""
    timeout_s: float = 600.0
    """Time in which the upstream sends nothing (504 beyond it)."""


_Limits = TypeVar("_Limits", ServerLimits, ProxyLimits)


def server_limits(overrides: Iterable[str]) -> ServerLimits:
    """The limits of a server after overrides; see `limits_after`."""
    return limits_after(ServerLimits(), overrides)


def limits_after(limits: _Limits, overrides: Iterable[str]) -> _Limits:
    """The limits after overrides of the form NAME=VALUE.

    Raises:
        ConfigError: for an unknown name, or a value that is not a positive number of its kind.
    """
    kinds: dict[str, type[int | float]] = {name: type(value) for name, value in asdict(limits).items()}
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
    return replace(limits, **values)
