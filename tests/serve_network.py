"""A network of your own behind an OpenAI-compatible endpoint, to try a recipe with before money is spent.

    python scripts/serve_network.py runs/e2e/teacher/network --port 8017

Knows chat completions with n, temperature, top_p, max_tokens and top_logprobs, and no other request. The last message
is the source as the network reads it. Log-probabilities are those at temperature 1, before anything is cut off.
"""

import argparse
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.models.checkpoint import load_network
from understudy.models.text import encode_sources
from understudy.models.token_bytes import TokenBytes
from understudy.models.tokenizers import load_tokenizer


class Writer:
    """Answers one request at a time."""

    def __init__(self, folder: str) -> None:
        self.network: PreTrainedModel = load_network(folder).eval()
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(folder)
        self.token_bytes = TokenBytes(self.tokenizer)
        self.has_encoder = bool(self.network.config.is_encoder_decoder)
        self.lock = threading.Lock()

    def completion(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A reply in OpenAI's form."""
        source = asked["messages"][-1]["content"]
        (ids,) = encode_sources(self.tokenizer, [source], is_encoder_decoder=self.has_encoder)
        with self.lock:
            written, logp_NTV = self.draw(ids, asked)
        choices = [self.choice(row, logp_NTV[n], asked.get("top_logprobs") or 0) for n, row in enumerate(written)]
        tokens = sum(len(row) for row in written)
        return {
            "id": "local",
            "object": "chat.completion",
            "created": 0,
            "model": asked["model"],
            "choices": [{"index": index, **choice} for index, choice in enumerate(choices)],
            "usage": {"prompt_tokens": len(ids), "completion_tokens": tokens, "total_tokens": len(ids) + tokens},
        }

    @torch.inference_mode()
    def draw(self, ids: list[int], asked: dict[str, Any]) -> tuple[list[list[int]], torch.Tensor]:
        """Token ids of each text, and the log-probabilities of all tokens at each position."""
        hot = float(asked.get("temperature", 1.0))
        drawn = {"do_sample": True, "temperature": hot, "top_p": asked.get("top_p", 1.0), "top_k": 0} if hot else {}
        out: Any = self.network.generate(
            torch.tensor([ids]),
            num_return_sequences=asked.get("n", 1) if hot else 1,
            max_new_tokens=asked["max_tokens"],
            num_beams=1,
            return_dict_in_generate=True,
            output_logits=True,
            **({"do_sample": False} | drawn),
        )
        logp_NTV = torch.stack(out.logits, dim=1).float().log_softmax(-1)
        return out.sequences[:, -logp_NTV.shape[1] :].tolist(), logp_NTV

    def choice(self, row: list[int], logp_TV: torch.Tensor, top: int) -> dict[str, Any]:
        """One text, as far as its end."""
        end = row.index(self.tokenizer.eos_token_id) if self.tokenizer.eos_token_id in row else None
        body = row[:end]
        told = [
            {
                **self.token(token_id, logp_V),
                "top_logprobs": [self.token(other, logp_V) for other in logp_V.topk(top).indices.tolist()],
            }
            for token_id, logp_V in zip(body, logp_TV, strict=False)
        ]
        text = b"".join(self.token_bytes.of(token_id) or b"" for token_id in body).decode(errors="replace")
        return {
            "message": {"role": "assistant", "content": text},
            "finish_reason": "length" if end is None else "stop",
            "logprobs": {"content": told} if top else None,
        }

    def token(self, token_id: int, logp_V: torch.Tensor) -> dict[str, Any]:
        """A token as OpenAI names it; one that is no text is empty."""
        surface = self.token_bytes.of(token_id) or b""
        return {
            "token": surface.decode(errors="replace"),
            "bytes": list(surface),
            "logprob": float(logp_V[token_id]),
        }


def handler(writer: Writer) -> type[BaseHTTPRequestHandler]:
    """The requests of a server."""

    class Chat(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_words: object) -> None:
            """Says nothing."""

        def do_POST(self) -> None:
            """One question."""
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(writer.completion(asked)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Chat


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8017)
    asked = parser.parse_args()
    torch.manual_seed(0)
    ThreadingHTTPServer(("127.0.0.1", asked.port), handler(Writer(str(asked.folder)))).serve_forever()


if __name__ == "__main__":
    main()
