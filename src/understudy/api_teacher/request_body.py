"""The body of a request, and what a server takes of it: providers refuse different parameters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError

DEFAULTS = {"temperature": 1.0, "top_p": 1.0}
"""Parameters whose refusal changes nothing if they have this value: such servers sample with it by themselves."""
REMEDIES = {
    "max_tokens": "set length_parameter: max_completion_tokens, or another max_tokens",
    "max_completion_tokens": "set length_parameter: max_tokens, or another max_tokens",
    "temperature": "set temperature: null (in a recipe: pseudo_targets.decoding sampling with temperature 1.0)",
    "top_p": "set top_p: null (in a recipe: pseudo_targets.decoding sampling with top_p 1.0)",
    "logprobs": "set top_logprobs: 0, or reasoning_effort: none where the model has it",
    "top_logprobs": "set top_logprobs to fewer or 0, or reasoning_effort: none where the model has it",
    "stop": "leave `stop` out",
    "reasoning_effort": "leave reasoning_effort out, or set it to a value that the model has",
    "n": "set per_request: 1",
}


@dataclass(frozen=True)
class Dialect:
    """Which parameters of our requests a server takes; `adapt` changes it when one is refused."""

    length_parameter: str
    per_request: int
    dropped: frozenset[str] = field(default=frozenset())
    """Parameters that the server refuses and that have its default value."""

    @classmethod
    def of(cls, endpoint: Endpoint) -> "Dialect":
        """The dialect before anything was refused."""
        name = endpoint.length_parameter
        return cls("max_tokens" if name == "auto" else name, endpoint.per_request)


def request_body(endpoint: Endpoint, dialect: Dialect, source: str, texts: int) -> dict[str, Any]:
    """The body of a request: messages from the prompt template, and the parameters that are set."""
    system = [{"role": "system", "content": endpoint.system}] if endpoint.system else []
    count = min(texts, dialect.per_request)
    optional = {
        "n": count if count > 1 else None,
        "temperature": endpoint.temperature,
        "top_p": endpoint.top_p,
        "stop": list(endpoint.stop) or None,
        "reasoning_effort": endpoint.reasoning_effort,
        "logprobs": True if endpoint.top_logprobs else None,
        "top_logprobs": endpoint.top_logprobs or None,
    }
    return {
        "model": endpoint.model,
        "messages": [*system, {"role": "user", "content": endpoint.prompt.replace("{source}", source)}],
        dialect.length_parameter: endpoint.max_tokens,
        **{name: value for name, value in optional.items() if value is not None and name not in dialect.dropped},
        **endpoint.extra_body,
    }


def refused_parameters(message: str, param: object, body: Mapping[str, Any]) -> list[str]:
    """The parameters of a request that an error names, the one in its field `param` first."""
    names = [name for name in body if name not in {"model", "messages"}]
    named = [name for name in names if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", message)]
    return list(dict.fromkeys(([param] if isinstance(param, str) and param in names else []) + named))


def adapt(dialect: Dialect, endpoint: Endpoint, body: Mapping[str, Any], refused: list[str], message: str) -> Dialect:
    """The dialect without a refused parameter, where this changes nothing in the texts.

    Raises:
        GenerationError: if it would change them, with the server's words and the setting to change.
    """
    if "max_tokens" in refused and endpoint.length_parameter == "auto":
        return replace(dialect, length_parameter="max_completion_tokens")
    if "n" in refused:
        return replace(dialect, per_request=1)
    for name in refused:
        if DEFAULTS.get(name) == body[name]:
            return replace(dialect, dropped=dialect.dropped | {name})
    name = refused[0]
    remedy = REMEDIES.get(name, "change it in extra_body")
    raise GenerationError(
        f"the server refuses {name} ({body[name]!r:.60}) for model {endpoint.model!r}: {message}; {remedy}"
    )
