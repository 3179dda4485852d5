"""Sends one request to an OpenAI-compatible server with the official client (the extra `openai`).

The client's own retries are off: `scheduler` retries, so that the journal records every attempt and its cost.
"""

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from understudy.api_teacher.journal import CompletionChoice
from understudy.api_teacher.scheduler import RequestFailed, Response, SendRequest
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError

FATAL_STATUSES = {401, 403, 404}
"""The key, the address or the model's name is wrong: no other request can succeed."""
TIMEOUT, RATE_LIMITED, SERVER_ERROR = 408, 429, 500


@asynccontextmanager
async def open_client(endpoint: Endpoint) -> AsyncIterator[SendRequest]:
    """The function that sends a request to the server.

    Raises:
        GenerationError: if the client is not installed, or the key is not in the environment.
    """
    try:
        import openai
    except ImportError as error:
        raise GenerationError(
            "an API teacher needs the openai client, which is not installed; pip install 'understudy[openai]'"
        ) from error
    key = os.environ.get(endpoint.key, "")
    if not key:
        raise GenerationError(
            f"the endpoint's key is read from the environment variable {endpoint.key}, which is not set; set it (a "
            "local server accepts any value), or name another variable with `key`"
        )
    client = openai.AsyncOpenAI(api_key=key, base_url=endpoint.base_url, timeout=endpoint.timeout_s, max_retries=0)

    async def send(source: str, texts: int) -> Response:
        try:
            completion = await client.chat.completions.create(**_request(endpoint, source, texts))
            return _parse_completion(completion.to_dict())
        except openai.APITimeoutError as error:
            raise RequestFailed("timeout", retryable=True, billed=True) from error
        except openai.APIConnectionError as error:
            raise RequestFailed("connection lost", retryable=True, billed=True) from error
        except openai.APIStatusError as error:
            raise _status_error(error.status_code, error.response.headers, endpoint) from error
        except (openai.APIError, json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
            raise RequestFailed("malformed response", retryable=True, billed=True) from error

    async with client:
        yield send


def _request(endpoint: Endpoint, source: str, texts: int) -> dict[str, Any]:
    """The body of a request: messages from the prompt template, and the sampling parameters."""
    system = [{"role": "system", "content": endpoint.system}] if endpoint.system else []
    request: dict[str, Any] = {
        "model": endpoint.model,
        "messages": [*system, {"role": "user", "content": endpoint.prompt.replace("{source}", source)}],
        "n": texts,
        "temperature": endpoint.temperature,
        "top_p": endpoint.top_p,
        "max_tokens": endpoint.max_tokens,
    }
    if endpoint.top_logprobs:
        request |= {"logprobs": True, "top_logprobs": endpoint.top_logprobs}
    return request


def _parse_completion(plain: Mapping[str, Any]) -> Response:
    usage, choices = plain.get("usage") or {}, [_parse_choice(choice) for choice in plain["choices"]]
    reported = usage.get("completion_tokens")
    # llama-server counts the tokens of the first choice alone.
    received = sum(len(choice.logprobs or ()) for choice in choices)
    output_tokens = None if reported is None else max(reported, received)
    return Response(choices, usage.get("prompt_tokens"), output_tokens)


def _parse_choice(plain: Mapping[str, Any]) -> CompletionChoice:
    positions = (plain.get("logprobs") or {}).get("content")
    logprobs: list[Mapping[str, object]] | None = None
    if positions:
        logprobs = [
            {
                "token": _token(position),
                "logprob": position["logprob"],
                "top": [[_token(other), other["logprob"]] for other in position.get("top_logprobs") or ()],
            }
            for position in positions
        ]
    text = _without_surrogates(str(plain["message"].get("content") or ""))
    return CompletionChoice(text, str(plain.get("finish_reason") or ""), logprobs)


def _token(token: Mapping[str, Any]) -> str | list[int]:
    """A token as text if the text spells all its bytes, else as bytes: a token may hold a part of a character."""
    text, spelled = _without_surrogates(str(token["token"])), token.get("bytes")
    return text if spelled is None or list(text.encode()) == spelled else list(spelled)


def _without_surrogates(text: str) -> str:
    """The text as a file can hold it: half of a character, which some servers send, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _status_error(status: int, headers: Mapping[str, str], endpoint: Endpoint) -> Exception:
    """The error of a status other than 200. It omits the server's own message, which may repeat the key."""
    if status in FATAL_STATUSES:
        return GenerationError(
            f"the endpoint returned status {status} for model {endpoint.model!r} at "
            f"{endpoint.base_url or 'the default address'}; check the key in {endpoint.key}, the model's name and "
            "base_url"
        )
    if status == RATE_LIMITED:
        wait_s = _retry_after_s(headers.get("retry-after"))
        return RequestFailed("rate limited (429)", retryable=True, billed=False, retry_after_s=wait_s)
    # A gateway's 502 or 504 may come after the model has generated the text, and been billed for it.
    from_server = status >= SERVER_ERROR
    return RequestFailed(f"HTTP status {status}", retryable=from_server or status == TIMEOUT, billed=from_server)


def _retry_after_s(text: str | None) -> float:
    """A Retry-After header in seconds; 0 for a date, which few servers send, so that the usual backoff applies."""
    try:
        return max(0.0, float(text or 0))
    except ValueError:
        return 0.0
