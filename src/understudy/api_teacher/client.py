"""One request to an OpenAI-compatible server, by the official client; the extra `openai` brings it.

The client's own retries are off: what is asked again, and what it may have cost, the journal must know.
"""

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from understudy.api_teacher.journal import Choice
from understudy.api_teacher.scheduler import Ask, Reply, RequestFailed
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError

HOPELESS = {401, 403, 404}
"""Answers to who we are and where we ask: no other question fares better."""
TIMEOUT, BUSY, OWN_FAULT = 408, 429, 500


@asynccontextmanager
async def open_endpoint(endpoint: Endpoint) -> AsyncIterator[Ask]:
    """The function that asks the server.

    Raises:
        GenerationError: if the client is not installed, or the key is not in the environment.
    """
    try:
        import openai
    except ImportError as error:
        raise GenerationError(
            "an endpoint is asked by the openai client, which is not installed; pip install 'understudy[openai]'"
        ) from error
    key = os.environ.get(endpoint.key, "")
    if not key:
        raise GenerationError(
            f"the endpoint's key is read from the environment variable {endpoint.key}, which is not set; set it (a "
            "local server takes any word), or name another one with `key`"
        )
    client = openai.AsyncOpenAI(api_key=key, base_url=endpoint.base_url, timeout=endpoint.timeout_s, max_retries=0)

    async def ask(source: str, texts: int) -> Reply:
        try:
            completion = await client.chat.completions.create(**_request(endpoint, source, texts))
            return _reply(completion.to_dict())
        except openai.APITimeoutError as error:
            raise RequestFailed("no answer in time", again=True, billed=True) from error
        except openai.APIConnectionError as error:
            raise RequestFailed("the connection was lost", again=True, billed=True) from error
        except openai.APIStatusError as error:
            raise _status(error.status_code, error.response.headers, endpoint) from error
        except (openai.APIError, json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
            raise RequestFailed("a malformed reply", again=True, billed=True) from error

    async with client:
        yield ask


def _request(endpoint: Endpoint, source: str, texts: int) -> dict[str, Any]:
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


def _reply(plain: Mapping[str, Any]) -> Reply:
    usage, choices = plain.get("usage") or {}, [_choice(choice) for choice in plain["choices"]]
    told = usage.get("completion_tokens")
    # llama-server counts the tokens of the first choice alone.
    seen = sum(len(choice.logprobs or ()) for choice in choices)
    return Reply(choices, usage.get("prompt_tokens"), told if told is None else max(told, seen))


def _choice(plain: Mapping[str, Any]) -> Choice:
    positions = (plain.get("logprobs") or {}).get("content")
    logprobs: list[Mapping[str, object]] | None = None
    if positions:
        logprobs = [
            {
                "token": _piece(position),
                "logprob": position["logprob"],
                "top": [[_piece(other), other["logprob"]] for other in position.get("top_logprobs") or ()],
            }
            for position in positions
        ]
    return Choice(_whole(str(plain["message"].get("content") or "")), str(plain.get("finish_reason") or ""), logprobs)


def _piece(token: Mapping[str, Any]) -> str | list[int]:
    """A token as text where that is all of it, else as bytes: one that holds a part of a character is no text."""
    text, given = _whole(str(token["token"])), token.get("bytes")
    return text if given is None or list(text.encode()) == given else list(given)


def _whole(text: str) -> str:
    """What any file can hold: half of a character, which some servers send, becomes the mark for an unknown one."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _status(status: int, headers: Mapping[str, str], endpoint: Endpoint) -> Exception:
    """What a status other than 200 means. The server's own words stay out: they may repeat the key."""
    if status in HOPELESS:
        return GenerationError(
            f"the endpoint answered {status} for model {endpoint.model!r} at {endpoint.base_url or 'its own address'}; "
            f"check the key in {endpoint.key}, the model's name and base_url"
        )
    if status == BUSY:
        return RequestFailed(
            "the server was busy (429)", again=True, billed=False, wait_s=_seconds(headers.get("retry-after"))
        )
    # A gateway's 502 or 504 may come after the model has written, and been billed for.
    late = status >= OWN_FAULT
    return RequestFailed(f"the server answered {status}", again=late or status == TIMEOUT, billed=late)


def _seconds(text: str | None) -> float:
    """A Retry-After in seconds; a date, which few send, waits as long as our own pauses do."""
    try:
        return max(0.0, float(text or 0))
    except ValueError:
        return 0.0
