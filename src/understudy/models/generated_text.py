"""From what a model generated to what counts as its text: without reasoning, and up to where demonstrations go on."""

from math import nan
from typing import NamedTuple

from understudy.models.reasoning import MARKERS, answer_start
from understudy.models.task_tokenizer import TaskTokenizer
from understudy.records import Generated


class CountedText(NamedTuple):
    """What counts of a generated text."""

    text: Generated
    """Without tokens if the model only reasoned. The log-probability of an answer after reasoning is not known (nan):
    that of the whole text is another one."""
    reasoned: bool
    """Whether reasoning was removed."""


def stop_ids(tokenizer: TaskTokenizer) -> frozenset[int]:
    """The tokens that hold the text at which a generated text ends; none where an end token ends it.

    An engine stops after one of them. A stop text may also be written as several tokens, after which the engine goes
    on; `counted_text` cuts both.
    """
    stop = tokenizer.stop
    if stop is None:
        return frozenset()
    ids = set(tokenizer.tokenizer.get_vocab().values())
    return frozenset(token_id for token_id in ids if stop in tokenizer.decode([token_id]))


def counted_text(tokenizer: TaskTokenizer, generated: Generated) -> CountedText:
    """A generated text without reasoning, and up to the stop text; unchanged if it has neither."""
    ids: tuple[int, ...] | None = generated.token_ids
    if not tokenizer.keep_reasoning:
        ids = _after_special_marker(tokenizer, generated.token_ids)
    text = "" if ids is None else tokenizer.decode(ids)
    start = 0 if tokenizer.keep_reasoning else answer_start(text)
    if ids is None or start is None:
        return CountedText(Generated((), nan), reasoned=True)
    reasoned = start > 0 or len(ids) < len(generated.token_ids)
    answer, stopped = text[start:], False
    if tokenizer.stop and tokenizer.stop in answer:
        answer, stopped = answer.partition(tokenizer.stop)[0].rstrip(), True
    if not (reasoned or stopped):
        return CountedText(generated, reasoned=False)
    (row,) = tokenizer.encode_targets([answer.strip() if reasoned else answer])
    if not stopped and ids[-1:] != (tokenizer.tokenizer.eos_token_id,):
        row = row[:-1]
    return CountedText(Generated(tuple(row), nan if reasoned else generated.logprob), reasoned)


def _after_special_marker(tokenizer: TaskTokenizer, ids: tuple[int, ...]) -> tuple[int, ...] | None:
    """The ids after reasoning whose markers are special tokens, which are no text; None if it has not ended."""
    special = {
        token.content: number for number, token in tokenizer.tokenizer.added_tokens_decoder.items() if token.special
    }
    for before, after in MARKERS:
        if special.get(after) in ids:
            return ids[len(ids) - ids[::-1].index(special[after]) :]
        if special.get(before) in ids:
            return None
    return ids
