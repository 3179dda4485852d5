"""A stand-in for the API of a large model: an OpenAI-compatible server that writes weather bulletins by rules.

    python tests/serve_forecasts.py --inputs inputs.csv --port 8017

writes 300 inputs, then serves until it is interrupted. It answers chat completions with n, and no other requests: the
last forecast in the messages is the input. The same request gets the same texts.
"""

import argparse
import csv
import json
import random
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from understudy.demo.forecast import forecast_task
from understudy.demo.forecast_record import parse_forecast
from understudy.demo.forecast_write import write_bulletin

MARK = " | temp "
"""It is in every forecast."""


def inputs(count: int) -> list[str]:
    """Different forecasts."""
    task = forecast_task(labeled=0, unlabeled=count, dev=0, test=0, seed=7)
    return [example.source for example in task.unlabeled]


def completion(request: dict[str, Any]) -> dict[str, Any]:
    """The response to a request, in OpenAI's form; a token is a word."""
    prompt = "\n".join(message["content"] for message in request["messages"])
    *_, line = (line for line in prompt.splitlines() if MARK in line)
    forecast, rng = parse_forecast(line.rpartition(": ")[2]), random.Random(prompt)
    texts = [write_bulletin(forecast, rng) for _ in range(request.get("n") or 1)]
    read, written = len(prompt.split()), sum(len(text.split()) for text in texts)
    return {
        "id": "local",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [
            {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for index, text in enumerate(texts)
        ],
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
    }


class Chat(BaseHTTPRequestHandler):
    """Answers requests."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_words: object) -> None:
        """Prints nothing."""

    def do_POST(self) -> None:
        """Answers one request."""
        body = json.dumps(completion(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def write_inputs(path: Path, count: int) -> None:
    """Writes inputs as a CSV of one column."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["source"], *([source] for source in inputs(count))])


def server(port: int) -> ThreadingHTTPServer:
    """The server, which does not serve yet; port 0 takes a free one."""
    made = ThreadingHTTPServer(("127.0.0.1", port), Chat)
    made.daemon_threads = True
    return made


def main() -> None:
    """Writes the inputs, once requests are accepted, and serves until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--inputs", type=Path, required=True, help="the CSV that is written")
    parser.add_argument("--port", type=int, default=8017)
    arguments = parser.parse_args()
    with server(arguments.port) as bound:
        write_inputs(arguments.inputs, 300)
        bound.serve_forever()


if __name__ == "__main__":
    main()
