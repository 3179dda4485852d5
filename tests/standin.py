"""A teacher's endpoint for tests of the server: it answers in capitals unless it is given something else to say."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.api_teacher.server import completion

from understudy.config.endpoint import Endpoint

KEY, KEY_VARIABLE = "sk-standin-0123456789", "STANDIN_KEY"
Reply = tuple[int, bytes]


def capitals(request: dict[str, Any]) -> Reply:
    """The last message in capitals, once for each of `n`."""
    return 200, json.dumps(completion(request["messages"][-1]["content"], request, "")).encode()


def saying(text: str) -> Callable[[dict[str, Any]], Reply]:
    """A reply with this text."""

    def reply(request: dict[str, Any]) -> Reply:
        found = completion(text, request, "")
        for choice in found["choices"]:
            choice["message"]["content"] = text
        return 200, json.dumps(found).encode()

    return reply


@dataclass
class Standin:
    """A running endpoint."""

    url: str = ""
    reply: Callable[[dict[str, Any]], Reply] = capitals
    released: threading.Event = field(default_factory=threading.Event)
    """Replies wait for it."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)

    def endpoint(self, **settings: object) -> Endpoint:
        """Settings with its address."""
        given = {"model": "large", "base_url": self.url, "key": KEY_VARIABLE, "per_request": 16, **settings}
        return Endpoint.model_validate({"temperature": None, "top_p": None, **given})


@contextmanager
def standing_in() -> Iterator[Standin]:
    """An endpoint on a free port."""
    own = Standin()
    own.released.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_words: object) -> None:
            """Prints nothing."""

        def do_POST(self) -> None:
            """Answers one request."""
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            own.authorizations.add(self.headers["Authorization"])
            own.requests.append(request)
            own.released.wait()
            status, body = own.reply(request)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            with suppress(BrokenPipeError, ConnectionResetError):  # the client has given up
                self.end_headers()
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    own.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield own
    finally:
        own.released.set()
        server.shutdown()
        server.server_close()
