"""Serves a checkpoint of understudy as an OpenAI-compatible chat server, to try a recipe with an API teacher for free.

    python tests/serve_network.py runs/store/teacher-0123456789abcdef/network --port 8017

The server supports chat completions with n, temperature, top_p, max_tokens and top_logprobs, and no other requests. The
last message is the model's source. Log-probabilities are those at temperature 1, before any truncation.
Axes: N texts, T target positions, V vocabulary.
"""

import argparse
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.models.checkpoint import load_network
from understudy.models.text import encode_sources
from understudy.models.token_bytes import TokenBytes
from understudy.models.tokenizers import load_tokenizer


class ChatModel:
    """A checkpoint that answers one request at a time."""

    def __init__(self, checkpoint: str) -> None:
        self.network: PreTrainedModel = load_network(checkpoint).eval()
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(checkpoint)
        self.token_bytes = TokenBytes(self.tokenizer)
        self.is_encoder_decoder = bool(self.network.config.is_encoder_decoder)
        self.lock = threading.Lock()

    def completion(self, request: dict[str, Any]) -> dict[str, Any]:
        """The response to a request, in OpenAI's form."""
        source = request["messages"][-1]["content"]
        (source_ids,) = encode_sources(self.tokenizer, [source], is_encoder_decoder=self.is_encoder_decoder)
        with self.lock:
            texts, logp_NTV = self.generate(source_ids, request)
        top = request.get("top_logprobs") or 0
        choices = [self.choice(token_ids, logp_NTV[n], top) for n, token_ids in enumerate(texts)]
        prompt_tokens, completion_tokens = len(source_ids), sum(map(len, texts))
        return {
            "id": "local",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [{"index": index, **choice} for index, choice in enumerate(choices)],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        }

    @torch.inference_mode()
    def generate(self, source_ids: list[int], request: dict[str, Any]) -> tuple[list[list[int]], Tensor]:
        """Token ids of each text, and the log-probabilities of all tokens at each position."""
        temperature = float(request.get("temperature", 1.0))
        decoding: dict[str, Any] = {"do_sample": False}
        if temperature:
            decoding = {
                "do_sample": True,
                "temperature": temperature,
                "top_p": request.get("top_p", 1.0),
                "top_k": 0,
                "num_return_sequences": request.get("n", 1),
            }
        generated: Any = self.network.generate(
            torch.tensor([source_ids]),
            max_new_tokens=request["max_tokens"],
            num_beams=1,
            return_dict_in_generate=True,
            output_logits=True,
            **decoding,
        )
        logp_NTV = torch.stack(generated.logits, dim=1).float().log_softmax(-1)
        return generated.sequences[:, -logp_NTV.shape[1] :].tolist(), logp_NTV

    def choice(self, token_ids: list[int], logp_TV: Tensor, top: int) -> dict[str, Any]:
        """One text up to its end-of-sequence token, as a choice of the response."""
        end = token_ids.index(self.tokenizer.eos_token_id) if self.tokenizer.eos_token_id in token_ids else None
        content_ids = token_ids[:end]
        positions = [
            {
                **self.token(token_id, logp_V),
                "top_logprobs": [self.token(other, logp_V) for other in logp_V.topk(top).indices.tolist()],
            }
            for token_id, logp_V in zip(content_ids, logp_TV, strict=False)
        ]
        text = b"".join(self.token_bytes.of(token_id) or b"" for token_id in content_ids).decode(errors="replace")
        return {
            "message": {"role": "assistant", "content": text},
            "finish_reason": "length" if end is None else "stop",
            "logprobs": {"content": positions} if top else None,
        }

    def token(self, token_id: int, logp_V: Tensor) -> dict[str, Any]:
        """A token in OpenAI's form; a special token is empty."""
        content = self.token_bytes.of(token_id) or b""
        return {
            "token": content.decode(errors="replace"),
            "bytes": list(content),
            "logprob": float(logp_V[token_id]),
        }


def handler(model: ChatModel) -> type[BaseHTTPRequestHandler]:
    """A request handler that answers with the model."""

    class ChatHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_words: object) -> None:
            """Prints nothing."""

        def do_POST(self) -> None:
            """Answers one request."""
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(model.completion(request)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return ChatHandler


def main() -> None:
    """Serves until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("checkpoint", type=Path, help="folder of the checkpoint")
    parser.add_argument("--port", type=int, default=8017)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = ChatModel(str(arguments.checkpoint))
    ThreadingHTTPServer(("127.0.0.1", arguments.port), handler(model)).serve_forever()


if __name__ == "__main__":
    main()
