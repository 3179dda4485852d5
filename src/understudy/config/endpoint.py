"""Settings of an API teacher: the OpenAI-compatible server, the prompt, the limits, and the price."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from understudy.config.section import Section


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        msg = f"{text!r} is not a regular expression: {error}"
        raise ValueError(msg) from None
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


class Price(Section):
    """Price per million tokens, in any currency."""

    input: NonNegativeFloat
    output: NonNegativeFloat


class Server(Section):
    """The server, the prompt, and the limits."""

    model: str
    base_url: str | None = None
    """Address of the server; null: OpenAI's."""
    key: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the API key; the key itself is never stored."""
    system: str | None = None
    """System message; null: none."""
    prompt: str = "{source}"
    """Prompt template of the user message; {source} is replaced by the input.

    Demonstrations (few-shot examples) are written here.
    """
    max_tokens: PositiveInt = 256
    """Maximum length of a response; the server truncates a longer one, and it is rejected."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = 0
    """Number of alternatives requested at each token, with their log-probabilities."""
    answer: Pattern = r"\s*(.+?)\s*"
    """Regular expression for the whole response; its first group is the text. The dot matches line ends too."""
    refusals: tuple[Pattern, ...] = (r"(?i)(i'?m|i am) (sorry|unable)|i (cannot|can't|won't)|as an ai\b",)
    """Regular expressions; a response that begins with a match is rejected."""
    recorded: Path | None = None
    """File of responses collected before by the KD4Gen code; only the texts it lacks are requested."""
    per_request: PositiveInt = 128
    """Maximum number of texts per request (`n`). OpenAI allows 128, llama-server its number of slots, others one."""
    concurrency: PositiveInt = 8
    """Number of requests in flight."""
    requests_per_minute: PositiveInt | None = None
    """Rate limit; null: none."""
    timeout_s: PositiveFloat = 60.0
    """Seconds until a request is given up and retried."""
    attempts: PositiveInt = 6
    """Maximum number of attempts per request, the first one included."""
    price: Price | None = None
    """Needed for a budget, and for costs in the report."""
    budget: PositiveFloat | None = None
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

    per_input: PositiveInt = 1
    """Number of texts per input."""
    temperature: NonNegativeFloat = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0

    @property
    def request_settings(self) -> dict[str, object]:
        """The settings that determine a response; journals with different ones must not be mixed."""
        return self.model_dump(
            include={"model", "base_url", "system", "prompt", "temperature", "top_p", "max_tokens", "top_logprobs"}
        )
