"""Pool rows made of an engine's output, and rows of several blocks merged into one order."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain

import pyarrow as pa

from understudy.records import Generated, PseudoTarget, TextGenerator


def pseudo_target_rows(
    input_ids: Sequence[str],
    generated: Sequence[Sequence[Generated]],
    *,
    generator: TextGenerator,
    round_number: int,
    decode: Callable[[Sequence[int]], str],
) -> list[PseudoTarget]:
    """The texts of several inputs as rows, input by input, each with its number of copies among its input's texts.

    Args:
        input_ids: one per entry of `generated`.
        generated: for each input, the engine's texts.
        generator: what generated them.
        round_number: of the student's samples; 0 for the teacher, which generates once.
        decode: token ids -> text.
    """
    rows = [
        PseudoTarget(input_id, generator, round_number, sample, text.token_ids, decode(text.token_ids), text.logprob)
        for input_id, texts in zip(input_ids, generated, strict=True)
        for sample, text in enumerate(texts)
    ]
    return mark_copies(rows)


def merge_rows(blocks: Iterable[Iterable[PseudoTarget]], input_ids: Iterable[str]) -> list[PseudoTarget]:
    """The rows of several blocks in one list, grouped by input.

    The samples of an input are renumbered from 0 in the order of the blocks, and copies are counted over all of them.

    Args:
        blocks: rows of each block.
        input_ids: of all inputs, in the order of the result.
    """
    rows_by_input: dict[str, list[PseudoTarget]] = {input_id: [] for input_id in input_ids}
    for row in chain.from_iterable(blocks):
        rows_by_input[row.input_id].append(row)
    return mark_copies(
        [replace(row, sample=sample) for rows in rows_by_input.values() for sample, row in enumerate(rows)]
    )


def mark_copies(targets: Sequence[PseudoTarget]) -> list[PseudoTarget]:
    """The same rows; `copies` of each is the number of rows of its input with the same text."""
    copies = Counter((target.input_id, target.text) for target in targets)
    return [replace(target, copies=copies[target.input_id, target.text]) for target in targets]


def rows_of_table(table: pa.Table | pa.RecordBatch) -> list[PseudoTarget]:
    """The rows of a table with the columns of `PseudoTarget`."""
    return [PseudoTarget(**row | {"token_ids": tuple(row["token_ids"])}) for row in table.to_pylist()]
