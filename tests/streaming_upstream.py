"""A local stand-in for the endpoint of a large model: its text is the last message in capitals, a piece per word."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

LONGEST_WAIT_S = 30
BROKEN_OFF = "break off"
"""A message after whose first piece the connection ends."""


@dataclass
class StandIn:
    """An upstream that is running, and what it has received."""

    url: str = ""
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    """(method, path, headers with lower-case names, body)"""
    released: Event = field(default_factory=Event)
    """Held back until it is set: all of a response but its first piece."""
    in_time: list[bool] = field(default_factory=list)
    """Of each response that was held back, whether it was released."""


class Endpoint(BaseHTTPRequestHandler):
    """Answers the requests of a stand-in."""

    protocol_version = "HTTP/1.1"
    own: StandIn

    def log_message(self, *_words: object) -> None:
        """Prints nothing."""

    def do_GET(self) -> None:
        """Answers with the path."""
        self.whole(200, json.dumps({"path": self.received()[1]}).encode(), {"Set-Cookie": "session=first"})

    def do_POST(self) -> None:
        """Answers one request."""
        body, path = self.received()
        if not path.split("?")[0].endswith(("/completions", "/responses")):
            self.whole(200, b"received %d bytes" % len(body), {"X-Own": "kept"})
            return
        request = json.loads(body)
        source = request["messages"][-1]["content"] if "messages" in request else request["prompt"]
        source = source[-1]["text"] if isinstance(source[-1], dict) else source
        if source == "too many":
            self.whole(429, b'{"error": {"message": "slow down"}}', {"Retry-After": "7"})
        elif request.get("stream"):
            self.streamed(source, request)
        else:
            self.whole(200, json.dumps(response(source, request)).encode(), {})

    def received(self) -> tuple[bytes, str]:
        """The body and the path, which are noted."""
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = b"".join(iter(self.chunk, b"")) if chunked else self.rfile.read(int(self.headers["Content-Length"] or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.own.requests.append((self.command, self.path, headers, body))
        return body, self.path

    def chunk(self) -> bytes:
        """A chunk of the body; empty at its end."""
        chunk = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return chunk

    def whole(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Sends a response at once."""
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def streamed(self, source: str, request: dict[str, Any]) -> None:
        """Sends a stream whose pieces after the first are held back."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, event in enumerate(events(source, request)):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.flush()
            if number == 0 and source == BROKEN_OFF:
                self.close_connection = True
                return
            if number == 0:
                self.own.in_time.append(self.own.released.wait(LONGEST_WAIT_S))
        self.wfile.write(b"0\r\n\r\n")


def response(source: str | list[str], request: dict[str, Any]) -> dict[str, Any]:
    """A response that is not streamed."""
    sources = source if isinstance(source, list) else [source]
    texts = [text.upper() for text in sources for _ in range(request.get("n") or 1)]
    head = {"id": f"chatcmpl-{texts[0].lower().replace(' ', '-')}", "created": 0, "model": "large-2026"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    if "prompt" in request:
        choices: list[dict[str, Any]] = [{"text": text} for text in texts]
    else:
        choices = [{"message": {"role": "assistant", "content": text}} for text in texts]
    if request.get("tools"):
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        choices = [{"message": {"role": "assistant", "content": None, "tool_calls": [call]}}]
    whole = [{"index": index, "finish_reason": "stop", **choice} for index, choice in enumerate(choices)]
    return {**head, "object": "chat.completion", "choices": whole, "usage": usage}


def events(source: str, request: dict[str, Any]) -> Iterator[bytes]:
    """The events of a stream, each a piece of the body."""
    head = {"id": f"chatcmpl-{source.replace(' ', '-')}", "object": "chat.completion.chunk", "created": 0}
    words = source.upper().split(" ")
    for number, word in enumerate(words):
        content = word if number == 0 else f" {word}"
        yield event({**head, "model": "large-2026", "choices": [{"index": 0, "delta": {"content": content}}]})
    yield event({**head, "model": "large-2026", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if (request.get("stream_options") or {}).get("include_usage"):
        yield event(
            {**head, "model": "large-2026", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
        )
    yield b"data: [DONE]\n\n"


def event(value: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """A running upstream, whose streams are not held back unless a test clears `released`."""
    own = StandIn()
    own.released.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Endpoint,), {"own": own}))
    server.daemon_threads = True
    own.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield own
    finally:
        own.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
