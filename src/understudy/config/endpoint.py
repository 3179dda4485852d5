"""A teacher behind an OpenAI-compatible server: what it is asked, how often, and what that may cost."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from understudy.config.section import Section


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        msg = f"{text!r} is no regular expression: {error}"
        raise ValueError(msg) from None
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


class Price(Section):
    """In any currency, per million tokens."""

    input: NonNegativeFloat
    output: NonNegativeFloat


class Server(Section):
    """The server, the question, the limits."""

    model: str
    base_url: str | None = None
    """None: OpenAI's own."""
    key: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; the key itself is written nowhere."""
    system: str | None = None
    prompt: str = "{source}"
    """What is asked; {source} stands for the input. Demonstrations are written out here."""
    max_tokens: PositiveInt = 256
    """Of an answer; a longer one is cut by the server, and rejected."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] = 0
    """How many of the most probable tokens are asked for at each position, with their log-probabilities."""
    answer: Pattern = r"\s*(.+?)\s*"
    """The whole of an answer must match; its first group is the text. The dot matches line ends too."""
    refusals: tuple[Pattern, ...] = (r"(?i)(i'?m|i am) (sorry|unable)|i (cannot|can't|won't)|as an ai\b",)
    """An answer that begins so is rejected."""
    recorded: Path | None = None
    """Answers bought before, in the form of the KD4Gen code; their inputs are asked about only for what they lack."""
    per_request: PositiveInt = 128
    """Texts asked for at once, at the most; OpenAI gives 128, llama-server as many as it has slots, others one."""
    concurrency: PositiveInt = 8
    requests_per_minute: PositiveInt | None = None
    timeout_s: PositiveFloat = 60.0
    attempts: PositiveInt = 6
    """How often a question is asked before it is given up."""
    price: Price | None = None
    budget: PositiveFloat | None = None
    """What is never spent beyond, in the price's currency; what is under way counts at the most it can cost."""

    @model_validator(mode="after")
    def _shows_the_input(self) -> Self:
        if "{source}" not in self.prompt:
            msg = f"prompt is {self.prompt!r}, which never shows the input; write {{source}} where it belongs"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _a_budget_has_prices(self) -> Self:
        if self.budget is not None and self.price is None:
            msg = f"budget is {self.budget}, but without price nobody knows what is spent; give price.input and .output"
            raise ValueError(msg)
        return self


class Endpoint(Server):
    """A server, and how many texts it is asked for. In a recipe `pseudo_targets` says that."""

    per_input: PositiveInt = 1
    temperature: NonNegativeFloat = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0

    @property
    def determines(self) -> dict[str, object]:
        """What decides an answer: two journals that differ in it must not be mixed."""
        return self.model_dump(
            include={"model", "base_url", "system", "prompt", "temperature", "top_p", "max_tokens", "top_logprobs"}
        )
