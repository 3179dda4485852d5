"""How a request becomes a source and a decoding, and what is refused: no body fails in another way."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.config.decoding import Beam, Greedy, KBeams, Sampling
from understudy.errors import ConfigError
from understudy.serving.deployment import TextSettings
from understudy.serving.limits import ServerLimits, server_limits
from understudy.serving.requests import RefusedRequest, RequestForm, TextRequest, chat_request, completion_request

EVALUATED = TextSettings(Beam(beams=4, length_penalty=0.5), 50)
FORM = RequestForm(("Summarise: {source}\nSummary:", "{source}"), ("Be brief.",))
USER = {"role": "user", "content": "a source"}


def chat(
    *messages: object,
    form: RequestForm = FORM,
    evaluated: TextSettings = EVALUATED,
    **more: Any,  # noqa: ANN401 - what clients send
) -> TextRequest:
    """A request with these messages and parameters."""
    body = {"model": "m", "messages": list(messages or (USER,)), **more}
    return chat_request(json.dumps(body).encode(), form, evaluated)


def test_the_recorded_prompt_is_stripped() -> None:
    """A message of its form holds the source; another one is the source."""
    assert chat({"role": "user", "content": "Summarise: x y\nSummary:"}).sources == ("x y",)
    assert chat({"role": "user", "content": "Summarise: x y"}).sources == ("Summarise: x y",)
    assert chat(
        {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}
    ).sources == ("x\ny",)
    completion = completion_request(b'{"model": "m", "prompt": ["Summarise: x\\nSummary:", "y"]}', FORM, EVALUATED)
    assert completion.sources == ("x", "y")


LONG = RequestForm(("Write the forecast as a bulletin.\n\n{source}\nBulletin:",), ("Be brief.\n",))


@pytest.mark.parametrize("ends", [("", ""), ("\n", "\n"), ("", "\n"), ("  ", "")])
def test_white_space_at_the_ends_of_a_prompt_does_not_count(ends: tuple[str, str]) -> None:
    """A prompt read from a file ends with a line break; the source keeps its own white space."""
    content = f"{ends[0]}Write the forecast as a bulletin.\n\n x \nBulletin:{ends[1]}"
    assert chat({"role": "user", "content": content}, form=LONG).sources == (" x ",)
    assert chat({"role": "user", "content": " x "}, form=LONG).sources == (" x ",)
    assert chat({"role": "user", "content": "A: x "}, form=RequestForm(("A: {source}\n",))).sources == ("x ",)
    assert chat({"role": "system", "content": "Be brief."}, USER, form=LONG).sources == ("a source",)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("Write the forecast as a short bulletin.\n\nx\nBulletin:", "has 'short bulletin.*' after 24 characters"),
        ("Write the forecast as a bulletin.\n\nx\nText:", "ends otherwise"),
    ],
)
def test_a_prompt_other_than_the_recorded_one_is_refused(content: str, found: str) -> None:
    """As a source it would get an answer that nobody evaluated."""
    with pytest.raises(RefusedRequest, match=f"begins like the recorded prompt, but {found}; send that prompt"):
        chat({"role": "user", "content": content}, form=LONG)


def test_the_recorded_system_message_is_accepted() -> None:
    """Any other is refused, unless the server leaves them out."""
    other = {"role": "developer", "content": "Rhyme."}
    assert chat({"role": "system", "content": "Be brief."}, USER).sources == ("a source",)
    with pytest.raises(RefusedRequest, match=r"'Rhyme.' and the recorded one is 'Be brief.'.*--ignore-system"):
        chat(other, USER)
    assert chat(other, USER, form=RequestForm(ignores_system=True)).sources == ("a source",)


@pytest.mark.parametrize(
    ("parameters", "decoding"),
    [
        ({}, EVALUATED.decoding),
        ({"temperature": 0}, EVALUATED.decoding),
        ({"temperature": 1e-9}, EVALUATED.decoding),
        ({"n": 3}, KBeams(beams=4, length_penalty=0.5)),
        ({"n": 5}, Sampling(temperature=1, top_k=0, top_p=1)),
        ({"temperature": 0.7}, Sampling(temperature=0.7, top_k=0, top_p=1)),
        ({"top_p": 0.5, "n": 2}, Sampling(temperature=1, top_k=0, top_p=0.5)),
    ],
)
def test_sampling_parameters_are_honoured(parameters: dict[str, Any], decoding: object) -> None:
    """Left out, the evaluated decoding holds."""
    assert chat(**parameters).settings.decoding == decoding


def test_an_evaluated_sampling_keeps_what_is_left_out() -> None:
    """A parameter of the request replaces that of the evaluation alone."""
    sampled = TextSettings(Sampling(temperature=0.5, top_k=7, top_p=0.9), 50)
    assert chat(evaluated=sampled, n=3).settings.decoding == sampled.decoding
    assert chat(evaluated=sampled, top_p=0.3).settings.decoding == Sampling(temperature=0.5, top_k=7, top_p=0.3)
    assert chat(evaluated=sampled, temperature=0).settings.decoding == Greedy()


def test_limits_and_what_has_no_effect_are_accepted() -> None:
    """A limit above the task's is that of the task; what every application sends changes nothing."""
    harmless: dict[str, Any] = {
        "user": "u",
        "metadata": {"a": "b"},
        "tools": [],
        "tool_choice": "none",
        "response_format": {"type": "text"},
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logit_bias": None,
        "stop": None,
    }
    assert chat(**harmless).settings == EVALUATED
    assert chat(max_tokens=7).settings.max_tokens == 7
    assert chat(max_completion_tokens=9, max_tokens=9).settings.max_tokens == 9
    assert chat(max_tokens=100_000).settings.max_tokens == 50
    assert chat(stop="x").stop == ("x",)
    assert chat(stop=["x", "y"]).stop == ("x", "y")


ASSISTANT = {"role": "assistant", "content": "b"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages: List should have at least 1 item"),
    ({"messages": "a"}, "messages: Input should be"),
    ({"messages": [1]}, "messages.0: "),
    ({"messages": [{"role": "user"}]}, "the source is empty"),
    ({"messages": [{"role": "user", "content": " \n"}]}, "the source is empty"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
    ({"messages": [{"role": "system", "content": "Be brief."}]}, "the turns of the conversation are: none"),
    ({"messages": [USER, ASSISTANT, USER]}, "the turns of the conversation are: user, assistant, user"),
    ({"messages": [USER, USER]}, "one user message"),
    ({"messages": [{**ASSISTANT, "tool_calls": [{}]}, USER]}, "uses a tool"),
    ({"messages": [{"role": "tool", "content": "a"}]}, "uses a tool"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "part of type 'image_url'"),
    ({"tools": [{"type": "function"}]}, "tools is .* not supported"),
    ({"response_format": {"type": "json_object"}}, "response_format is .*json_object"),
    ({"presence_penalty": 0.5}, "presence_penalty is 0.5"),
    ({"logprobs": True, "top_logprobs": 5}, "top_logprobs is 5, but only the log-probability of generated"),
    ({"temprature": 1}, "unknown parameter 'temprature'; did you mean 'temperature'"),
    ({"temperature": -1}, "temperature: Input should be greater than or equal to 0, found -1"),
    ({"temperature": "1"}, "temperature: Input should be a valid number, found '1'"),
    ({"temperature": 0, "n": 2}, "n is 2, but at temperature 0"),
    ({"top_p": 0}, "top_p: Input should be greater than 0"),
    ({"n": 0}, "n: Input should be greater than or equal to 1"),
    ({"n": 1000}, "n: Input should be less than or equal to 16"),
    ({"n": True}, "n: Input should be a valid integer"),
    ({"max_tokens": 0}, "max_tokens: "),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens is 3, but max_completion_tokens is 4"),
    ({"stop": ""}, "stop is '', but an empty text"),
    ({"stop": list("abcde")}, "stop.*at most 4"),
    ({"stream": "yes"}, "stream: "),
    ({"model": None}, "model: "),
]


@pytest.mark.parametrize(("change", "sentence"), REFUSED, ids=[next(iter(change)) for change, _ in REFUSED])
def test_what_cannot_be_done_is_refused_with_a_sentence(change: dict[str, Any], sentence: str) -> None:
    """Status 400, the parameter, the value, and what to do."""
    body = {"model": "m", "messages": [USER], **change}
    with pytest.raises(RefusedRequest, match=sentence) as refused:
        chat_request(json.dumps(body).encode(), FORM, EVALUATED)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "body",
    [b"", b"[", b"null", b"[]", b'"a"', b"\xff\xfe", b"{" * 10_000, b'{"model": "\\ud800", "prompt": "a"}', b"NaN"],
)
def test_what_is_no_body_is_refused(body: bytes) -> None:
    """Broken JSON, other types, half characters, and nesting without an end."""
    for read in (chat_request, completion_request):
        with pytest.raises(RefusedRequest):
            read(body, FORM, EVALUATED)


KNOWN = st.sampled_from([*(key for change, _ in REFUSED for key in change), "prompt", "seed", "stream_options", "user"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["user", "text"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "text"]) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(changes=st.dictionaries(KNOWN, VALUES, max_size=4), completion=st.booleans())
def test_any_body_is_answered_or_refused(changes: dict[str, Any], completion: bool) -> None:
    """No other error, which would be a 500; sources are texts, limits are positive."""
    read, base = (completion_request, {"prompt": "a"}) if completion else (chat_request, {"messages": [USER]})
    try:
        request = read(json.dumps({"model": "m", **base, **changes}).encode(), FORM, EVALUATED)
    except RefusedRequest:
        return
    assert all(source.strip() for source in request.sources)
    assert 0 < request.settings.max_tokens <= EVALUATED.max_tokens
    assert request.settings.seed is not None
    assert 0 <= request.settings.seed < 2**32


def test_limits_of_a_server_are_read() -> None:
    """NAME=VALUE, each a positive number of its kind."""
    assert server_limits([]) == ServerLimits()
    assert server_limits(["queue=7", "timeout_s=0.5"]) == ServerLimits(queue=7, timeout_s=0.5)
    for wrong, sentence in {
        "queu=7": "unknown limit 'queu'.*queue",
        "queue=7.5": "queue is '7.5'; give a positive whole number",
        "queue": "queue is ''",
        "timeout_s=nan": "timeout_s is 'nan'; give a positive number",
        "timeout_s=inf": "timeout_s is 'inf'",
        "queue=0": "queue is '0'",
    }.items():
        with pytest.raises(ConfigError, match=sentence):
            server_limits([wrong])
