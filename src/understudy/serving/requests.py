"""Requests of the OpenAI API as sources and settings of generation; what a system cannot do is refused.

One user message is the source. Sampling parameters of the request are honoured; left out, the evaluated decoding holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from understudy.config.decoding import Beam, Decoding, Greedy, KBeams, Sampling
from understudy.errors import did_you_mean, shortened
from understudy.serving.deployment import TextSettings
from understudy.serving.source_text import without_prompt

MOST_TEXTS = 16
"""Texts per source; each is generated at the same time as the others."""
MOST_PROMPTS = 64
COLDEST = 1e-3
"""Temperatures below it are 0: dividing logits by them could overflow."""
LARGEST_SEED = 2**32
NO_EFFECT = (
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
    "verbosity",
)
"""Parameters that are accepted: they do not change the text that one task's system generates."""
UNSUPPORTED: Mapping[str, tuple[Sequence[object], str]] = {
    "audio": ((None,), "answers are texts"),
    "best_of": ((None, 1), "use n"),
    "echo": ((None, False), "put the prompt before the text yourself"),
    "frequency_penalty": ((None, 0), "penalties are not supported"),
    "function_call": ((None, "none"), "tools are not supported"),
    "functions": ((None, []), "tools are not supported"),
    "logit_bias": ((None, {}), "biases are not supported"),
    "modalities": ((None, ["text"]), "answers are texts"),
    "prediction": ((None,), "predicted outputs are not supported"),
    "presence_penalty": ((None, 0), "penalties are not supported"),
    "response_format": ((None, {"type": "text"}), "only texts as in training are generated"),
    "suffix": ((None, ""), "a text is generated for a whole source"),
    "tool_choice": ((None, "none", "auto"), "tools are not supported"),
    "tools": ((None, []), "tools are not supported"),
    "top_logprobs": ((None, 0), "only the log-probability of generated tokens is known"),
    "web_search_options": ((None,), "tools are not supported"),
}
"""Parameter -> values without an effect, which are accepted; and what is said of any other value."""


class RefusedRequest(Exception):
    """The error response of a request: status and sentence. It never leaves the server."""

    def __init__(
        self, status: int, sentence: str, *, param: str | None = None, code: str | None = None, retry_after_s: int = 0
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s


class _Closed(BaseModel):
    """Values of the declared types alone: "1" is no number."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)


class _Part(_Closed):
    type: str
    text: str | None = None


class _Message(_Closed):
    role: str
    content: str | list[_Part] | None = None


class _StreamOptions(_Closed):
    include_usage: bool | None = None


class _Body(_Closed):
    model: str
    n: Annotated[int, Field(ge=1, le=MOST_TEXTS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    seed: int | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


class _ChatBody(_Body):
    messages: Annotated[list[_Message], Field(min_length=1)]
    logprobs: bool | None = None


class _CompletionBody(_Body):
    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
    logprobs: int | None = None


_Given = TypeVar("_Given", bound=_Body)


@dataclass(frozen=True)
class RequestForm:
    """How a request becomes a source: what a run recorded of its teacher's requests."""

    prompts: tuple[str, ...] = ()
    """`{source}` stands for the source; a message of this form is stripped of the prompt."""
    systems: tuple[str, ...] = ()
    """System messages that the system was trained with, or that its teacher was asked with."""
    ignores_system: bool = False
    """Whether any other system message is left out instead of refused."""


@dataclass(frozen=True)
class TextRequest:
    """A request that can be answered."""

    model: str
    sources: tuple[str, ...]
    settings: TextSettings
    seeded: bool
    """Whether the client chose the seed."""
    stop: tuple[str, ...]
    """Texts before which an answer ends."""
    stream: bool
    include_usage: bool


def chat_request(body: bytes, form: RequestForm, evaluated: TextSettings) -> TextRequest:
    """The body of `/v1/chat/completions`.

    Args:
        body: JSON.
        form: how its message becomes a source.
        evaluated: what holds for parameters that are left out.

    Raises:
        RefusedRequest: with status 400.
    """
    given = _read(_ChatBody, body)
    source = _chat_source(given.messages, form)
    return _request(given, (source,), evaluated, logprobs=bool(given.logprobs))


def completion_request(body: bytes, form: RequestForm, evaluated: TextSettings) -> TextRequest:
    """The body of `/v1/completions`; see `chat_request`."""
    given = _read(_CompletionBody, body)
    if given.logprobs:
        raise _refused(
            "logprobs", given.logprobs, f"{UNSUPPORTED['top_logprobs'][1]}: 0 requests it, more asks for other tokens"
        )
    prompts = [given.prompt] if isinstance(given.prompt, str) else given.prompt
    sources = tuple(_stripped(prompt, form.prompts, "prompt") for prompt in prompts)
    return _request(given, sources, evaluated, logprobs=given.logprobs is not None)


def _read(kind: type[_Given], body: bytes) -> _Given:
    try:
        given = kind.model_validate_json(body)
    except ValidationError as error:
        # Of a text or a list, the error that is not merely about the type: `stop.str` has nothing to do with a list.
        found_errors = error.errors(include_url=False, include_context=False)
        first = min(found_errors, key=lambda one: one["type"].endswith("_type"))
        where = ".".join(map(str, first["loc"])) or "the body"
        found = "" if first["type"] in {"missing", "json_invalid"} else f", found {shortened(first['input'])}"
        raise RefusedRequest(400, f"{where}: {first['msg']}{found}", param=where) from None
    for name, value in (given.model_extra or {}).items():
        if name in NO_EFFECT:
            continue
        if name not in UNSUPPORTED:
            known = [*kind.model_fields, *UNSUPPORTED, *NO_EFFECT]
            raise RefusedRequest(
                400, f"unknown parameter {shortened(name)}{did_you_mean(name, known)}; leave it out", param=name
            )
        accepted, reason = UNSUPPORTED[name]
        if value not in accepted:
            raise _refused(name, value, f"{reason}; leave it out")
    return given


def _request(given: _Body, sources: tuple[str, ...], evaluated: TextSettings, *, logprobs: bool) -> TextRequest:
    limits = {given.max_tokens, given.max_completion_tokens} - {None}
    if len(limits) > 1:
        raise _refused(
            "max_tokens", given.max_tokens, f"max_completion_tokens is {given.max_completion_tokens}; give one of them"
        )
    stop = [given.stop] if isinstance(given.stop, str) else given.stop or []
    if "" in stop:
        raise _refused("stop", given.stop, "an empty text would end every answer; leave it out")
    settings = TextSettings(
        _decoding(given, evaluated.decoding),
        min(evaluated.max_tokens, *filter(None, limits)) if limits else evaluated.max_tokens,
        per_source=given.n or 1,
        seed=(given.seed or 0) % LARGEST_SEED,
        logprobs=logprobs,
    )
    options = given.stream_options
    return TextRequest(
        given.model,
        sources,
        settings,
        given.seed is not None,
        tuple(stop),
        stream=bool(given.stream),
        include_usage=bool(options and options.include_usage),
    )


def _decoding(given: _Body, evaluated: Decoding) -> Decoding:
    """The decoding of a request, which is the evaluated one unless a sampling parameter says otherwise."""
    texts, temperature, top_p = given.n or 1, given.temperature, given.top_p
    if temperature is not None and temperature < COLDEST:
        if texts > 1:
            raise _refused("n", texts, "at temperature 0 all texts are equal; set n to 1 or a higher temperature")
        return Greedy() if isinstance(evaluated, Sampling) else evaluated
    if temperature is None and top_p is None:
        if texts == 1 or isinstance(evaluated, Sampling):
            return evaluated
        if isinstance(evaluated, Beam | KBeams) and evaluated.beams >= texts:
            return KBeams(beams=evaluated.beams, length_penalty=evaluated.length_penalty)
    # The defaults of the API.
    base = evaluated if isinstance(evaluated, Sampling) else Sampling(temperature=1.0, top_k=0, top_p=1.0)
    chosen = {"temperature": temperature, "top_p": top_p}
    return base.model_copy(update={name: value for name, value in chosen.items() if value is not None})


def _chat_source(messages: Sequence[_Message], form: RequestForm) -> str:
    for message in messages:
        extra = message.model_extra or {}
        if message.role in {"tool", "function"} or any(extra.get(key) for key in ("tool_calls", "function_call")):
            raise RefusedRequest(400, "a message uses a tool; tools are not supported", param="messages")
    turns = [message for message in messages if message.role not in {"system", "developer"}]
    if [turn.role for turn in turns] != ["user"]:
        roles = ", ".join(turn.role[:20] for turn in turns[:8]) or "none"
        raise RefusedRequest(
            400,
            f"the turns of the conversation are: {roles}; the source is one user message, so send it alone, without "
            "earlier turns",
            param="messages",
        )
    system = "\n".join(_text(message) for message in messages if message.role in {"system", "developer"})
    known = {one.strip() for one in form.systems}
    if system.strip() and system.strip() not in known and not form.ignores_system:
        recorded = f"the recorded one is {shortened(form.systems[0])}" if form.systems else "the run recorded none"
        raise RefusedRequest(
            400,
            f"the system message is {shortened(system)} and {recorded}; leave the message out, or start the server "
            "with --ignore-system",
            param="messages",
        )
    return _stripped(_text(turns[0]), form.prompts, "messages")


def _text(message: _Message) -> str:
    """The text of a message, whose parts are lines, as in the logs that a task is read from."""
    if isinstance(message.content, str):
        return message.content
    for part in message.content or ():
        if part.type != "text" or part.text is None:
            raise RefusedRequest(
                400, f"a message has a part of type {shortened(part.type)}; only text can be read", param="messages"
            )
    return "\n".join(part.text or "" for part in message.content or ())


def _stripped(text: str, prompts: Sequence[str], param: str) -> str:
    """The source in a text."""
    try:
        source = without_prompt(text, prompts)
    except ValueError as error:
        raise RefusedRequest(400, f"{param}: {error}", param=param) from None
    if not source.strip():
        raise RefusedRequest(400, f"{param}: the source is empty; send a text", param=param)
    return source


def _refused(param: str, value: object, reason: str) -> RefusedRequest:
    return RefusedRequest(400, f"{param} is {shortened(value)}, but {reason}", param=param)
