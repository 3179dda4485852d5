"""A local chat server with the faults of real ones.

A hash of the prompt and of the number of its requests decides the fault, so every run meets the same faults. The server
logs the requests and the tokens it would bill.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("429", "429 at once", "500", "timeout", "cut", "truncated", "refusal", "empty", "no logprobs", "filtered")
BILLED = {"500", "timeout", "cut", "truncated", "refusal", "empty", "no logprobs", "filtered", ""}
"""Faults after which the provider bills the request, whether or not the response arrives."""
SLOW_S = 2.5


class RequestLog:
    """Counts the requests of each prompt and records what was billed."""

    def __init__(self, share: float, when: tuple[int, Callable[[], None]] = (-1, lambda: None)) -> None:
        self.share, self.when, self.lock = share, when, threading.Lock()
        self.requests: dict[str, int] = {}
        """Prompt -> number of requests."""
        self.billed: list[tuple[str, int, int]] = []
        """(prompt, input tokens, output tokens) of each billed request."""
        self.keys: set[str] = set()

    def next_fault(self, prompt: str) -> str:
        """The fault of the next request of this prompt; empty: none."""
        with self.lock:
            self.requests[prompt] = self.requests.get(prompt, 0) + 1
            digest = hashlib.sha256(f"{prompt}/{self.requests[prompt]}".encode()).digest()
        if digest[0] / 256 >= self.share:
            return ""
        return FAULTS[digest[1] % len(FAULTS)]

    def bill(self, prompt: str, tokens_in: int, tokens_out: int) -> None:
        """Records a billed request."""
        with self.lock:
            self.billed.append((prompt, tokens_in, tokens_out))
            count, happens = self.when
            if len(self.billed) == count:
                happens()


def handler(log: RequestLog) -> type[BaseHTTPRequestHandler]:
    """A request handler that logs to `log`."""

    class Chat(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_words: object) -> None:
            """Prints nothing."""

        def do_POST(self) -> None:
            """Answers one request."""
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            log.keys.add(self.headers["Authorization"])
            prompt = request["messages"][-1]["content"]
            fault = log.next_fault(prompt)
            response = completion(prompt, request, fault)
            body, usage = json.dumps(response).encode(), response["usage"]
            if fault in BILLED:
                log.bill(prompt, usage["prompt_tokens"], usage["completion_tokens"])
            if fault in {"429", "429 at once", "500"}:
                self.send_whole(int(fault[:3]), b"{}", {"Retry-After": "0.01"} if fault == "429" else {})
            elif fault in {"timeout", "cut"}:
                self.break_off(fault, body)
            else:
                self.send_whole(200, body[: len(body) // 2] if fault == "truncated" else body)

        def break_off(self, fault: str, body: bytes) -> None:
            """Sends nothing until the client times out, or half of the response."""
            self.close_connection = True
            if fault == "timeout":
                time.sleep(SLOW_S)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])

        def send_whole(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            """Sends a complete response."""
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Chat


def completion(prompt: str, request: dict[str, Any], fault: str) -> dict[str, Any]:
    """The completion: the prompt in capitals, a token per word."""
    text = {"refusal": "I'm sorry, but I cannot do that.", "empty": "", "filtered": ""}.get(fault, prompt.upper())
    words = text.split()
    content = None
    if request.get("logprobs") and fault != "no logprobs":
        content = [
            {
                "token": word,
                "logprob": -0.1,
                "top_logprobs": [top_token(word, -0.1), top_token("\u2603", -2.5)],
                "bytes": None,
            }
            for word in (word if number == 0 else f" {word}" for number, word in enumerate(words))
        ]
    choice = {
        "message": {"role": "assistant", "content": text},
        "finish_reason": "content_filter" if fault == "filtered" else "stop",
        "logprobs": {"content": content} if content else None,
    }
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [{"index": index, **choice} for index in range(request.get("n", 1))],
        "usage": {
            "prompt_tokens": len(prompt.split()),
            "completion_tokens": request.get("n", 1) * len(words),
            "total_tokens": len(prompt.split()) + request.get("n", 1) * len(words),
        },
    }


def top_token(word: str, logprob: float) -> dict[str, Any]:
    """A token in the form of `top_logprobs`."""
    return {"token": word, "logprob": logprob, "bytes": list(word.encode())}


def serve(log: RequestLog) -> ThreadingHTTPServer:
    """A server on a free local port, running in a thread."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(log))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
