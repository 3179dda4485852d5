import pytest

from understudy.api_teacher.journal import Choice
from understudy.api_teacher.response_filter import parse_response
from understudy.config.endpoint import Endpoint

TAGGED = {"answer": r".*<answer>\s*(.+?)\s*</answer>.*"}


@pytest.mark.parametrize(
    ("text", "finish", "settings", "expected", "why"),
    [
        (" a text\n", "stop", {}, "a text", ""),
        ("two\nlines", "stop", {}, "two\nlines", ""),
        (" \n", "stop", {}, "", "empty"),
        ("", "content_filter", {}, "", "filtered by the server"),
        ("a text that", "length", {}, "", "cut at max_tokens"),
        ("a", "tool_calls", {}, "", "ended by tool_calls"),
        ("I'm sorry, but no.", "stop", {}, "", "a refusal"),
        ("As an AI, I think", "stop", {}, "", "a refusal"),
        ("I can't wait for summer.", "stop", {"refusals": []}, "I can't wait for summer.", ""),
        ("So: <answer> yes\n</answer>", "stop", TAGGED, "yes", ""),
        ("yes", "stop", TAGGED, "", "not of the form asked for"),
        ("none", "stop", {"answer": "A: (.+)|none"}, "", "not of the form asked for"),
        ("A: ", "stop", {"answer": "A:(.*)"}, "", "not of the form asked for"),
        ("A: b", "stop", {"answer": "A: .*"}, "A: b", ""),
    ],
)
def test_an_answer_is_a_target_or_has_a_reason(
    text: str, finish: str, settings: dict[str, object], expected: str, why: str
) -> None:
    """What is no target is told by one of few reasons, so that they can be counted."""
    found = parse_response(Choice(text, finish), Endpoint.model_validate({"model": "m", **settings}))

    assert (found.text, found.rejected) == (expected, why)
    assert text[found.start :].startswith(expected)
