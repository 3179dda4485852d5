"""Completions as different servers send them, shortened to one position: OpenAI's as documented, others as observed."""

from typing import Any

from understudy.api_teacher.journal import CompletionChoice
from understudy.api_teacher.request_types import Response
from understudy.api_teacher.response_body import parse_completion
from understudy.config.endpoint import Endpoint

ENDPOINT = Endpoint(model="m", top_logprobs=5)


def _parse_completion(plain: dict[str, Any]) -> Response:
    return parse_completion(plain, ENDPOINT, 1)


def completion(position: dict[str, Any] | None, **more: object) -> dict[str, Any]:
    """A completion with one choice."""
    logprobs = {"logprobs": {"content": [position], **more}} if position else {}
    return {"choices": [{"message": {"content": "é"}, "finish_reason": "stop", **logprobs}]}


BYTES_OF_ALL = {
    "token": "\\xc3",
    "bytes": [195],
    "logprob": -0.5,
    "top_logprobs": [
        {"token": "\\xc3", "bytes": [195], "logprob": -0.5},
        {"token": "é", "bytes": [195, 169], "logprob": -2.0},
    ],
}
NO_BYTES = {
    "token": "",
    "bytes": None,
    "logprob": -0.5,
    "top_logprobs": [{"token": "", "bytes": None, "logprob": -0.5}, {"token": "é", "bytes": None, "logprob": -2.0}],
}


def test_a_token_is_kept_as_bytes_if_its_text_does_not_spell_them() -> None:
    """Half a character has only its bytes; a token whose text spells its bytes is kept as text."""
    kept = _parse_completion(completion(BYTES_OF_ALL, refusal=None)).choices[0].logprobs

    assert kept == [
        {"token": [195], "logprob": -0.5, "top": [[[195], -0.5], ["é", -2.0]]},
    ]


def test_a_token_without_bytes_is_kept_as_its_text() -> None:
    """llama-cpp-python sends null for bytes."""
    assert _parse_completion(completion(NO_BYTES)).choices[0].logprobs == [
        {"token": "", "logprob": -0.5, "top": [["", -0.5], ["é", -2.0]]},
    ]


def test_a_completion_without_log_probabilities_is_accepted() -> None:
    """The server of transformers ignores the parameter."""
    parsed = _parse_completion(completion(None))

    assert list(parsed.choices) == [CompletionChoice("é", "stop")]
    assert (parsed.input_tokens, parsed.output_tokens) == (None, None)


def test_half_of_a_character_becomes_the_replacement_character() -> None:
    """A lone surrogate could not be written to the journal after it was paid for; a pair is one character."""
    plain = completion({"token": "cut \ud83d", "bytes": None, "logprob": -0.1, "top_logprobs": []})
    plain["choices"][0]["message"]["content"] = "cut \ud83d, whole \ud83d\ude00"
    (choice,) = _parse_completion(plain).choices

    assert choice.text == "cut \ufffd, whole \U0001f600"
    assert choice.logprobs is not None
    assert next(iter(choice.logprobs[0].values())) == "cut \ufffd"
