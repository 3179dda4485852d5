"""What each process that serves HTTP needs: a bound socket, and logs as lines on standard error."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

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


def log_lines() -> None:
    """Has the package's loggers write their messages, a line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    own = logging.getLogger("understudy")
    own.setLevel(logging.INFO)
    own.handlers = [handler]
    own.propagate = False
