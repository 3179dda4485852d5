import pytest

from understudy.api_teacher.journal import CompletionChoice
from understudy.api_teacher.response_filter import ONLY_REASONED, parse_response
from understudy.config.endpoint import Endpoint

TAGGED = {"answer": r".*<answer>\s*(.+?)\s*</answer>.*"}


@pytest.mark.parametrize(
    ("text", "finish_reason", "settings", "expected", "reason"),
    [
        (" a text\n", "stop", {}, "a text", ""),
        ("two\nlines", "stop", {}, "two\nlines", ""),
        (" \n", "stop", {}, "", "empty"),
        ("", "content_filter", {}, "", "filtered by the server"),
        ("a text that", "length", {}, "", "truncated at max_tokens"),
        ("a", "tool_calls", {}, "", "finish_reason tool_calls"),
        ("I'm sorry, but no.", "stop", {}, "", "refusal"),
        ("As an AI, I think", "stop", {}, "", "refusal"),
        ("I can't wait for summer.", "stop", {"refusals": []}, "I can't wait for summer.", ""),
        ("So: <answer> yes\n</answer>", "stop", TAGGED, "yes", ""),
        ("yes", "stop", TAGGED, "", "no match of the answer pattern"),
        ("none", "stop", {"answer": "A: (.+)|none"}, "", "no match of the answer pattern"),
        ("A: ", "stop", {"answer": "A:(.*)"}, "", "no match of the answer pattern"),
        ("A: b", "stop", {"answer": "A: .*"}, "A: b", ""),
        ("<think>\nHm.\n</think>\n\na text", "stop", {}, "a text", ""),
        ("Hm.</think>I'm sorry, but no.", "stop", {}, "", "refusal"),
        ("<think>I can't say", "stop", {}, "", ONLY_REASONED),
        ("<think>Hm.", "length", {}, "", ONLY_REASONED),
        ("<think>Hm.</think>a text", "stop", {"answer": "(.+)"}, "<think>Hm.</think>a text", ""),
    ],
)
def test_a_response_is_a_target_or_has_a_reason(
    text: str, finish_reason: str, settings: dict[str, object], expected: str, reason: str
) -> None:
    """Rejected responses have one of a few reasons, so that they can be counted."""
    found = parse_response(CompletionChoice(text, finish_reason), Endpoint.model_validate({"model": "m", **settings}))

    assert (found.text, found.rejected) == (expected, reason)
    assert text[found.start :].startswith(expected)


@pytest.mark.parametrize(
    ("pattern", "text", "kept"),
    [
        (r"\s*([^\n]+)\n.*", " first line\nInput: an", "first line"),
        (r"\s*([^\n]+)\n.*", " first li", ""),
        (r"\s*(.+?)\s*", "the text goes on\n", ""),
        (r"Answer: (\d+).*", "Answer: 12", ""),
        (r"Answer: (\d+) .*", "Answer: 12 because", "12"),
    ],
)
def test_an_answer_that_ends_before_the_cut_is_whole(pattern: str, text: str, kept: str) -> None:
    """A text truncated at max_tokens is usable if its answer would be the same if the text went on."""
    parsed = parse_response(CompletionChoice(text, "length"), Endpoint(model="m", answer=pattern))

    assert (parsed.text, parsed.rejected) == (kept, "" if kept else "truncated at max_tokens")
