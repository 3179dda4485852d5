"""Replies in the dialects of servers, shortened to one position: OpenAI's as documented, the others' as seen."""

from typing import Any

from understudy.api_teacher.client import _reply
from understudy.api_teacher.journal import Choice


def reply(position: dict[str, Any] | None, **more: object) -> dict[str, Any]:
    """A reply of one choice."""
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


def test_bytes_are_kept_where_a_tokens_text_does_not_spell_them() -> None:
    """Half a letter is known by its byte alone; a token that is text needs no second spelling."""
    kept = _reply(reply(BYTES_OF_ALL, refusal=None)).choices[0].logprobs

    assert kept == [
        {"token": [195], "logprob": -0.5, "top": [[[195], -0.5], ["é", -2.0]]},
    ]


def test_a_server_without_bytes_is_taken_at_its_word() -> None:
    """As llama-cpp-python's, which gives null."""
    assert _reply(reply(NO_BYTES)).choices[0].logprobs == [
        {"token": "", "logprob": -0.5, "top": [["", -0.5], ["é", -2.0]]},
    ]


def test_a_server_that_leaves_log_probabilities_out_has_answered() -> None:
    """As the one of transformers, which passes over what it does not know."""
    got = _reply(reply(None))

    assert list(got.choices) == [Choice("é", "stop")]
    assert (got.input_tokens, got.output_tokens) == (None, None)


def test_half_of_a_character_is_kept_as_the_mark_for_one() -> None:
    """As it came it could be written to no journal, after it was paid for; two halves are one character."""
    plain = reply({"token": "cut \ud83d", "bytes": None, "logprob": -0.1, "top_logprobs": []})
    plain["choices"][0]["message"]["content"] = "cut \ud83d, whole \ud83d\ude00"
    (choice,) = _reply(plain).choices

    assert choice.text == "cut \ufffd, whole \U0001f600"
    assert choice.logprobs is not None
    assert next(iter(choice.logprobs[0].values())) == "cut \ufffd"
