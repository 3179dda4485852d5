"""From what an engine wrote to rows of the pool."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain

from understudy.pool.pool import mark_copies
from understudy.records import Generated, PseudoTarget, TextGenerator


def pseudo_target_rows(
    input_ids: Sequence[str],
    written: Sequence[Sequence[Generated]],
    *,
    generator: TextGenerator,
    round_number: int,
    decode: Callable[[Sequence[int]], str],
) -> list[PseudoTarget]:
    """The texts of several inputs as rows, input by input, each told how many of its input's texts equal it.

    Args:
        input_ids: one per entry of `written`.
        written: for each input, the texts an engine wrote for it.
        generator: whose engine it was.
        round_number: of the generator; 0 for the teacher, which writes once.
        decode: token ids -> text.
    """
    rows = [
        PseudoTarget(name, generator, round_number, sample, text.token_ids, decode(text.token_ids), text.logprob)
        for name, texts in zip(input_ids, written, strict=True)
        for sample, text in enumerate(texts)
    ]
    return mark_copies(rows)


def joined(portions: Iterable[Iterable[PseudoTarget]], inputs: Iterable[str]) -> list[PseudoTarget]:
    """The texts of several portions as one, input by input.

    The samples of an input are numbered through, portion by portion, and copies are counted over all of them.

    Args:
        portions: their rows.
        inputs: the ids of all inputs, in the order in which their texts are to stand.
    """
    of_input: dict[str, list[PseudoTarget]] = {name: [] for name in inputs}
    for row in chain.from_iterable(portions):
        of_input[row.input_id].append(row)
    return mark_copies([replace(row, sample=sample) for rows in of_input.values() for sample, row in enumerate(rows)])
