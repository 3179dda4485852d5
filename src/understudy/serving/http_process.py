"""What each process that serves HTTP needs: a bound socket, bodies within a limit, logs as lines on standard error."""

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.requests import Request

from understudy.errors import ConfigError


@contextmanager
def bound_socket(host: str, port: int) -> Iterator[tuple[socket.socket, str]]:
    """A socket that accepts connections, and its URL.

    Args:
        host: address or name of the interface.
        port: 0 takes a free one.

    Raises:
        ConfigError: if the address cannot be used.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        accepting = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot serve at {host} port {port}: {error}; give other values of --host and --port"
        ) from None
    # Accepted connections inherit it. Without it the body of a response, which is written after its head, waits for the
    # client's delayed acknowledgement: 40 ms. asyncio sets it only on sockets that name their protocol.
    accepting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with accepting:
        shown = f"[{host}]" if ":" in host else host
        yield accepting, f"http://{shown}:{accepting.getsockname()[1]}"


async def received_body(
    request: Request, limit: int, refused: Callable[[int, str], Exception], whose: str = "the limit"
) -> bytes:
    """The body of a request; of one that is too large the rest is read too, for clients read no response before.

    Raises:
        Exception: `refused` of status 413 and a sentence.
    """
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
    if size > limit:
        raise refused(413, f"the body has {size} bytes and {whose} is {limit}; send less")
    return b"".join(chunks)


def log_lines() -> None:
    """Has the package's loggers write their messages, a line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    own = logging.getLogger("understudy")
    own.setLevel(logging.INFO)
    own.handlers = [handler]
    own.propagate = False
