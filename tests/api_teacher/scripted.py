"""A local server whose replies are a function of the request, and collecting from it without pauses."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any]
"""Status and body: bytes, or a value that becomes JSON."""
Respond = Callable[[str, str, Any], Reply]
"""(method, path, body) -> the reply; the body is decoded JSON, or bytes."""


@contextmanager
def answering(respond: Respond) -> Iterator[str]:
    """A server on a free port; yields its base_url."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_words: object) -> None:
            """Prints nothing."""

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            plain = json.loads(body) if self.headers.get("Content-Type") == "application/json" else body
            status, reply = respond(self.command, self.path, plain)
            content = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self.send_response(status)
            if content.startswith(b"<"):
                self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()
