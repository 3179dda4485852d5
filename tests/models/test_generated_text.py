"""What counts of a generated text: the answer after reasoning, up to where demonstrations go on."""

from dataclasses import replace
from math import isnan

import pytest
from tests.models.special_tokenizers import byte_level
from tokenizers import AddedToken

from understudy.models.generated_text import counted_text, stop_ids
from understudy.models.reasoning import MARKERS, answer_start, has_reasoning
from understudy.models.task_tokenizer import TaskTokenizer
from understudy.records import Generated

READS = TaskTokenizer(byte_level(), False, "{source}", 64, 64)
END = READS.tokenizer.eos_token_id


def generated(text: str, *, ended: bool = True) -> Generated:
    """A text as an engine returns it."""
    (row,) = READS.encode_targets([text])
    return Generated(tuple(row if ended else row[:-1]), -2.0)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a lamp", "a lamp"),
        ("<think>\nthe order has 2\n</think>\n\na lamp", "a lamp"),
        ("the order has 2</think> a lamp", "a lamp"),  # the template wrote the first marker
        ("<think>\n\n</think>\n\na lamp", "a lamp"),
        ("\n <think>a</think>b</think>a lamp", "a lamp"),
        ("[THINK]the order[/THINK]a lamp", "a lamp"),
        ("a < think > lamp", "a < think > lamp"),
        ("the <think> lamp", "the <think> lamp"),  # not at the start, and never ended
    ],
)
def test_reasoning_before_an_answer_is_removed(text: str, answer: str) -> None:
    """The row is that of the answer alone, and the log-probability of a shorter text is not known."""
    text_of, reasoned = counted_text(READS, generated(text))

    assert list(text_of.token_ids) == READS.encode_targets([answer])[0]
    assert reasoned == (text != answer)
    assert isnan(text_of.logprob) == reasoned


@pytest.mark.parametrize("markers", MARKERS)
def test_a_text_that_is_only_reasoning_is_no_text(markers: tuple[str, str]) -> None:
    """Whether the reasoning ended or not."""
    before, after = markers
    for text in (f"{before}the order", f"{before}the order{after}", f"the order{after}\n "):
        found, reasoned = counted_text(READS, generated(text, ended=False))
        assert (found.token_ids, isnan(found.logprob), reasoned) == ((), True, True)
    assert answer_start(f"{before}the order{after} x") == len(f"{before}the order{after} ")
    assert has_reasoning(f"the {after}")


def test_an_answer_that_did_not_end_has_no_end() -> None:
    """The student would learn to stop in the middle of a sentence."""
    text, _ = counted_text(READS, generated("<think>x</think>a lamp", ended=False))

    assert list(text.token_ids) == READS.encode_targets(["a lamp"])[0][:-1]


def test_reasoning_is_kept_on_request() -> None:
    """Where the task's own targets hold it."""
    text = generated("<think>x</think>a lamp")

    assert counted_text(replace(READS, keep_reasoning=True), text) == (text, False)


def test_markers_that_are_special_tokens_are_found_too() -> None:
    """Decoding removes them, and the reasoning between them would be left as text."""
    tokenizer = byte_level()
    tokenizer.add_tokens(
        [AddedToken("[THINK]", special=True), AddedToken("[/THINK]", special=True)], special_tokens=True
    )
    own = replace(READS, tokenizer=tokenizer)
    first, last = tokenizer.convert_tokens_to_ids(["[THINK]", "[/THINK]"])
    reasoning, answer = own.encode_targets(["the order"])[0][:-1], own.encode_targets(["a lamp"])[0]

    text, reasoned = counted_text(own, Generated((first, *reasoning, last, *answer), -1.0))
    assert (list(text.token_ids), reasoned) == (answer, True)
    assert counted_text(own, Generated((first, *reasoning), -1.0)).text.token_ids == ()


@pytest.mark.parametrize(
    ("stop", "text", "answer", "ended"),
    [
        ("\n", "a lamp\n\nthe order\n2", "a lamp", True),
        ("\n", "a lamp \n", "a lamp", True),
        ("\n\n", "a lamp\nand 2\n\nthe order", "a lamp\nand 2", True),
        ("\n\n", "a lamp\nand", "a lamp\nand", False),
    ],
)
def test_a_continuation_ends_where_the_next_demonstration_begins(
    stop: str, text: str, answer: str, *, ended: bool
) -> None:
    """A cut text has an end, one that holds no stop text has none."""
    found, reasoned = counted_text(replace(READS, stop=stop), generated(text, ended=False))
    (row,) = READS.encode_targets([answer])

    assert list(found.token_ids) == (row if ended else row[:-1])
    assert (found.logprob, reasoned) == (-2.0, False)


def test_stop_tokens_are_all_that_hold_the_stop_text() -> None:
    """Also as a part: a token may hold the full stop of the text with the line break."""
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken(".\n\n", normalized=False), AddedToken(".\n", normalized=False)])
    own = replace(READS, tokenizer=tokenizer)
    line, stop, blank = tokenizer.convert_tokens_to_ids(["Ċ", ".\n", ".\n\n"])

    assert stop_ids(own) == frozenset()
    assert stop_ids(replace(own, stop="\n")) == {line, stop, blank}
    assert stop_ids(replace(own, stop="\n\n")) == {blank}
    (row,) = own.encode_targets(["a lamp.\n"])
    text, _ = counted_text(replace(own, stop="\n"), Generated(tuple(row), -1.0))
    assert own.decode(text.token_ids) == "a lamp."
