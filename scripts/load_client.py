"""An HTTP client for load: keep-alive connections on one event loop, with little work per request.

A closed loop sends the next request of a connection when the last one is answered; an open loop sends at a given rate,
whatever the server does, and counts the time from the moment at which a request was due.
"""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

HOST = "127.0.0.1"
LOST = 0
"""Status of a request whose connection was closed without an answer."""
ACCEPTED = (200, 504)
"""Statuses of requests that were not refused."""
MOST_TRIES = 8


@dataclass(frozen=True)
class Reply:
    """What became of a request."""

    status: int
    seconds: float
    body: bytes = b""
    tries: int = 1


@dataclass
class Load:
    """What became of many requests."""

    replies: list[Reply] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def statuses(self) -> dict[int, int]:
        """The number of replies of each status."""
        return dict(sorted(Counter(reply.status for reply in self.replies).items()))

    @property
    def rate(self) -> float:
        """Texts per second."""
        return self.statuses.get(200, 0) / self.seconds

    def milliseconds(self, *shares: float) -> list[float]:
        """The time below which this share of the accepted requests was answered."""
        times = sorted(1000 * reply.seconds for reply in self.replies if reply.status in ACCEPTED) or [float("nan")]
        return [times[min(len(times) - 1, int(share * len(times)))] for share in shares]


class Connection(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(self) -> None:
        self.closed = False
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._reply: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Completes the request once its whole reply is there."""
        self._received += data
        head, end, _ = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        start = len(head) + len(end)
        if len(self._received) >= start + length:
            body = bytes(self._received[start : start + length])
            self._received.clear()
            self._answer(int(head[9:12]), body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - a Protocol
        """The request that waits is not answered."""
        self.closed = True
        self._answer(LOST, b"")

    def _answer(self, status: int, body: bytes) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result((status, body))

    async def reply(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the reply."""
        if self._transport is None or self.closed:
            return LOST, b""
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._reply

    def close(self) -> None:
        """Closes the connection."""
        if self._transport is not None:
            self._transport.close()


def http_request(path: str, body: object) -> bytes:
    """The bytes of a POST request with this body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    return f"{head}\r\n\r\n".encode() + content


async def connected(port: int) -> Connection:
    """A new connection."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, HOST, port)
    return connection


async def closed_loop(
    port: int,
    requests: Sequence[bytes],
    *,
    clients: int,
    count: int | None = None,
    seconds: float = float("inf"),
    retries: bool = False,
    keep_bodies: bool = False,
) -> Load:
    """So many clients, of which each sends a request when its last one is answered.

    Args:
        port: of the server.
        requests: sent in turn, again and again.
        clients: number of connections.
        count: number of requests in all; None: as many as in the time.
        seconds: after which no further request is sent.
        retries: whether a request whose connection is refused or closed is sent again, at most `MOST_TRIES` times;
            without it such a client ends.
        keep_bodies: whether the bodies of the replies are kept.
    """
    endless = itertools.cycle(requests)
    waiting = endless if count is None else itertools.islice(endless, count)
    done = Load()
    begun = time.monotonic()

    async def client() -> None:
        own: Connection | None = None
        for request in waiting:
            sent = time.monotonic()
            for number in range(1, MOST_TRIES + 1):
                if number > 1:  # as the official client does
                    await asyncio.sleep(min(8.0, 0.5 * 2 ** (number - 2)))
                try:
                    if own is None or own.closed:
                        own = await connected(port)
                    status, body = await own.reply(request)
                except OSError:
                    status, body = LOST, b""
                if status != LOST or not retries:
                    break
            done.replies.append(Reply(status, time.monotonic() - sent, body if keep_bodies else b"", number))
            if status == LOST or time.monotonic() - begun > seconds:
                break
        if own is not None:
            own.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    done.seconds = time.monotonic() - begun
    return done


async def open_loop(port: int, requests: Sequence[bytes], *, rate: float, seconds: float) -> Load:
    """Requests at a rate, on as many connections as that needs."""
    done = Load()
    free: list[Connection] = []
    endless = itertools.cycle(requests)
    begun = time.monotonic()

    async def usable() -> Connection:
        while free:  # the server closes those that are idle for long
            if not (connection := free.pop()).closed:
                return connection
        return await connected(port)

    async def one(due: float, request: bytes) -> None:
        try:
            own = await usable()
            status, _ = await own.reply(request)
        except OSError:
            status = LOST
        done.replies.append(Reply(status, time.monotonic() - due))
        if status != LOST and not own.closed:
            free.append(own)

    async with asyncio.TaskGroup() as sending:
        for due in _schedule(begun, rate, seconds):
            await asyncio.sleep(due - time.monotonic())
            sending.create_task(one(due, next(endless)))
    done.seconds = time.monotonic() - begun
    for connection in free:
        connection.close()
    return done


def _schedule(begun: float, rate: float, seconds: float) -> Iterator[float]:
    return (begun + number / rate for number in range(int(rate * seconds)))
