"""Settings of an API teacher: the OpenAI-compatible server, the prompt, the limits, and the price."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    StrictBool,
    model_validator,
)

from understudy.config.numbers import (
    CountFromZero,
    Inputs,
    Positive,
    Real,
    ShareAboveZero,
    TextsPerInput,
    TokenCount,
    Weight,
    Whole,
)
from understudy.config.section import Section


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        msg = f"{text!r} is not a regular expression: {error}"
        raise ValueError(msg) from None
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


def _url(text: str) -> str:
    problem = "must be an address such as http://127.0.0.1:8080/v1"
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError as error:  # a port that is no number, half an IPv6 address
        raise ValueError(f"{text!r} {problem}: {error}") from None
    if not usable or not text.isprintable() or " " in text:
        raise ValueError(f"{text!r} {problem}")
    if parts.query or parts.fragment or parts.username or parts.password:
        # It is written to the journal, so it must not contain a password.
        raise ValueError(
            f"an address without user, password, query and fragment is needed, found one for {parts.hostname}; "
            "set the key with `key`"
        )
    return text


def _extra_body(extra: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    if own := sorted(OWN_PARAMETERS & extra.keys()):
        raise ValueError(f"{', '.join(own)} cannot be set here; use the setting of this parameter")
    json.dumps(extra, allow_nan=False)
    return extra


OWN_PARAMETERS = {
    "model",
    "messages",
    "n",
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "logprobs",
    "top_logprobs",
    "reasoning_effort",
    "stream",
}
"""Parameters of a request that settings determine; streams are not supported."""


class Price(Section):
    """Price per million tokens, in any currency."""

    input: Weight
    output: Weight


class Server(Section):
    """The server, the prompt, and the limits."""

    model: str
    base_url: Annotated[str, AfterValidator(_url)] | None = None
    """Address of the server; null: OpenAI's."""
    key: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the API key; the key itself is never stored."""
    system: str | None = None
    """System message; null: none."""
    prompt: str = "{source}"
    """Prompt template of the user message; {source} is replaced by the input.

    Demonstrations (few-shot examples) are written here.
    """
    max_tokens: TokenCount = 256
    """Maximum length of a response, hidden reasoning included; the server truncates a longer one, and it is rejected.

    A truncated response is usable if `answer` matches and its group ends before the cut.
    """
    length_parameter: Literal["auto", "max_tokens", "max_completion_tokens"] = "auto"
    """Name under which `max_tokens` is sent; auto: max_tokens, or max_completion_tokens if the server refuses it."""
    stop: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=16)] = ()
    """Texts at which the server ends a response; OpenAI allows four."""
    reasoning_effort: Annotated[str, Field(pattern="^[a-z]{1,20}$")] | None = None
    """How much a reasoning model reasons (none, minimal, low, medium, high, ...); null: not sent."""
    extra_body: Annotated[Mapping[str, JsonValue], AfterValidator(_extra_body)] = Field(default_factory=dict)
    """Further parameters of each request, sent as they are."""
    top_logprobs: Annotated[Whole, Field(ge=0, le=20)] = 0
    """Number of alternatives requested at each token, with their log-probabilities."""
    answer: Pattern = r"\s*(.+?)\s*"
    """Regular expression for the whole response; its first group is the text. The dot matches line ends too. The
    default is the response without reasoning before it (`<think>...</think>`)."""
    refusals: tuple[Pattern, ...] = (r"(?i)(i'?m|i am) (sorry|unable)|i (cannot|can't|won't)|as an ai\b",)
    """Regular expressions; a response that begins with a match is rejected."""
    recorded: Path | None = None
    """File of responses collected before by the KD4Gen code; only the texts it lacks are requested."""
    per_request: TextsPerInput = 128
    """Maximum number of texts per request (`n`). OpenAI allows 128, llama-server its number of slots, others one."""
    concurrency: Annotated[Whole, Field(ge=1, le=1024)] = 8
    """Number of requests in flight."""
    requests_per_minute: Inputs | None = None
    """Rate limit; null: none."""
    timeout_s: Annotated[Real, Field(gt=0, le=86_400)] = 60.0
    """Seconds from the start of a request to the last byte of its response; later it is given up and retried."""
    attempts: Annotated[Whole, Field(ge=1, le=100)] = 6
    """Maximum number of attempts per request, the first one included."""
    smoke_inputs: CountFromZero = 20
    """Number of inputs requested first; if most of them have no usable text, no other is requested. 0: none."""
    batch: StrictBool = False
    """Whether to use the batch API, at half the price: the responses come within 24 hours."""
    price: Price | None = None
    """Needed for a budget, and for costs in the report."""
    budget: Positive | None = None
    """Maximum cost in the price's currency; requests in flight count at their maximum cost."""

    @model_validator(mode="after")
    def _prompt_contains_source(self) -> Self:
        if "{source}" not in self.prompt:
            msg = (
                f"prompt is {self.prompt!r}, which does not contain the input; write {{source}} where the input belongs"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _budget_needs_price(self) -> Self:
        if self.budget is not None and self.price is None:
            msg = f"budget is {self.budget}, but without a price costs are unknown; set price.input and price.output"
            raise ValueError(msg)
        return self


class Endpoint(Server):
    """A server, and how many texts are sampled how. In a recipe, `pseudo_targets` holds these three settings."""

    per_input: TextsPerInput = 1
    """Number of texts per input."""
    temperature: Weight | None = 1.0
    """null: not sent, so that the server's default applies."""
    top_p: ShareAboveZero | None = 1.0
    """null: not sent, so that the server's default applies."""
    require_logprobs: StrictBool = False
    """Whether to stop after the first inputs if the server returns no log-probabilities."""

    @model_validator(mode="after")
    def _required_logprobs_are_requested(self) -> Self:
        if self.require_logprobs and not self.top_logprobs:
            raise ValueError("require_logprobs is true, but top_logprobs is 0; set it to the number of alternatives")
        return self

    @property
    def request_settings(self) -> dict[str, object]:
        """The settings that determine a response; journals with different ones must not be mixed."""
        always = {"model", "base_url", "system", "prompt", "temperature", "top_p", "max_tokens", "top_logprobs"}
        # Left out where not set, so that journals of versions without them remain valid.
        optional = {name for name in ("stop", "reasoning_effort", "extra_body") if getattr(self, name)}
        return self.model_dump(mode="json", include=always | optional)
