"""A chat server on this machine that fails as real ones do.

What becomes of a request is decided by a hash of the question and of how often it was asked, so that every run meets
the same faults. A question that is answered is noted in a book, with what it would have cost.
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
"""The server has done its work and wants its money, whether or not the answer arrives."""
SLOW_S = 2.5


class Book:
    """What was asked how often, and what was delivered."""

    def __init__(self, share: float, when: tuple[int, Callable[[], None]] = (-1, lambda: None)) -> None:
        self.share, self.when, self.lock = share, when, threading.Lock()
        self.asked: dict[str, int] = {}
        self.billed: list[tuple[str, int, int]] = []
        """PromptGroup, tokens in, tokens out."""
        self.keys: set[str] = set()

    def fault(self, question: str) -> str:
        """What befalls the next request of this question; empty: nothing."""
        with self.lock:
            self.asked[question] = self.asked.get(question, 0) + 1
            digest = hashlib.sha256(f"{question}/{self.asked[question]}".encode()).digest()
        if digest[0] / 256 >= self.share:
            return ""
        return FAULTS[digest[1] % len(FAULTS)]

    def bill(self, question: str, tokens_in: int, tokens_out: int) -> None:
        """Notes a delivery."""
        with self.lock:
            self.billed.append((question, tokens_in, tokens_out))
            count, happens = self.when
            if len(self.billed) == count:
                happens()


def handler(book: Book) -> type[BaseHTTPRequestHandler]:
    """The requests of one server."""

    class Chat(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_words: object) -> None:
            """Says nothing."""

        def do_POST(self) -> None:
            """One question."""
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            book.keys.add(self.headers["Authorization"])
            question = asked["messages"][-1]["content"]
            fault = book.fault(question)
            answer = completion(question, asked, fault)
            body, usage = json.dumps(answer).encode(), answer["usage"]
            if fault in BILLED:
                book.bill(question, usage["prompt_tokens"], usage["completion_tokens"])
            if fault in {"429", "429 at once", "500"}:
                self.reply(int(fault[:3]), b"{}", {"Retry-After": "0.01"} if fault == "429" else {})
            elif fault in {"timeout", "cut"}:
                self.break_off(fault, body)
            else:
                self.reply(200, body[: len(body) // 2] if fault == "truncated" else body)

        def break_off(self, fault: str, body: bytes) -> None:
            """Says nothing for too long, or half of what it promised."""
            self.close_connection = True
            if fault == "timeout":
                time.sleep(SLOW_S)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])

        def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            """A whole answer."""
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Chat


def completion(question: str, asked: dict[str, Any], fault: str) -> dict[str, Any]:
    """What a server says: the question in capitals, word by word."""
    text = {"refusal": "I'm sorry, but I cannot do that.", "empty": "", "filtered": ""}.get(fault, question.upper())
    words = text.split()
    content = None
    if asked.get("logprobs") and fault != "no logprobs":
        content = [
            {"token": word, "logprob": -0.1, "top_logprobs": [named(word, -0.1), named("\u2603", -2.5)], "bytes": None}
            for word in (word if place == 0 else f" {word}" for place, word in enumerate(words))
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
        "model": asked["model"],
        "choices": [{"index": index, **choice} for index in range(asked["n"])],
        "usage": {
            "prompt_tokens": len(question.split()),
            "completion_tokens": asked["n"] * len(words),
            "total_tokens": len(question.split()) + asked["n"] * len(words),
        },
    }


def named(word: str, logprob: float) -> dict[str, Any]:
    """A token that might have been written."""
    return {"token": word, "logprob": logprob, "bytes": list(word.encode())}


def serve(book: Book) -> ThreadingHTTPServer:
    """A server on a free port of this machine, at work in a thread."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(book))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
