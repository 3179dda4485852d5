"""Pool rows made of an engine's output."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

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


def mark_copies(targets: Sequence[PseudoTarget]) -> list[PseudoTarget]:
    """The same rows; `copies` of each is the number of rows of its input with the same text."""
    copies = Counter((target.input_id, target.text) for target in targets)
    return [replace(target, copies=copies[target.input_id, target.text]) for target in targets]


def rows_of_table(table: pa.Table | pa.RecordBatch) -> list[PseudoTarget]:
    """The rows of a table with the columns of `PseudoTarget`."""
    return [PseudoTarget(**row | {"token_ids": tuple(row["token_ids"])}) for row in table.to_pylist()]
