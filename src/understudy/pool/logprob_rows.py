"""Sparse teacher log-probabilities as bytes: rows of different lengths, one after the other.

A row that keeps n tokens is n low halves of ids (16 bits each), n log-probabilities, and the upper bits of the ids,
0, 2, 4 or 8 of each, padded to whole bytes. Where rows begin follows from their counts.
Axes: P positions, N positions of a batch, K tokens kept at most, B bytes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.errors import PoolError

Bytes = NDArray[np.uint8]
Logp = NDArray[np.float16 | np.float32]

LOW_BITS = 16
UPPER_BITS = (0, 2, 4, 8)
"""All divide a byte, so an id's upper bits are never in two bytes."""


@dataclass(frozen=True)
class RowFormat:
    """How a row is laid out."""

    upper_bits: int
    """Of each id, above the lower 16."""
    logp: np.dtype[Any]
    """Half or single precision, little-endian."""

    def sizes(self, counts: NDArray[np.integer]) -> NDArray[np.int64]:
        """Bytes of rows that keep so many tokens."""
        kept = counts.astype(np.int64)
        return kept * (2 + self.logp.itemsize) + (kept * self.upper_bits + 7) // 8


def row_format(vocab_size: int, logp: type[np.float16 | np.float32]) -> RowFormat:
    """The narrowest format whose ids can be all of a vocabulary: 16 bits up to 65,536 tokens, 18 up to 262,144.

    Raises:
        PoolError: if ids need more than 24 bits.
    """
    for bits in UPPER_BITS:
        if vocab_size <= 1 << (LOW_BITS + bits):
            return RowFormat(bits, np.dtype(logp).newbyteorder("<"))
    raise PoolError(
        f"a log-probability cache has ids of up to 24 bits, but the vocabulary has {vocab_size} tokens; use "
        "teacher_logprobs={kind: dense}"
    )


def pack_rows(ids_PK: NDArray[np.integer], logp_PK: Logp, layout: RowFormat) -> tuple[Bytes, NDArray[np.int64]]:
    """The bytes of rows, and how many tokens each keeps; entries of minus infinity are left out.

    Args:
        ids_PK: token ids, each once in its row.
        logp_PK: in nats.
        layout: of the rows.

    Returns:
        Bytes of all rows, and counts (P,).
    """
    present_PK = np.isfinite(logp_PK)
    counts_P = present_PK.sum(axis=1)
    starts_P = np.cumsum(layout.sizes(counts_P)) - layout.sizes(counts_P)
    rows_B = np.zeros(int(layout.sizes(counts_P).sum()), np.uint8)
    place_PK = np.cumsum(present_PK, axis=1) - 1  # of an entry among those that are kept
    position, column = np.nonzero(present_PK)
    place, start, count = place_PK[position, column], starts_P[position], counts_P[position]
    ids, logp = ids_PK[position, column].astype(np.int64), logp_PK[position, column].astype(layout.logp)
    _write(rows_B, start + 2 * place, (ids & 0xFFFF).astype("<u2"))
    _write(rows_B, start + 2 * count + layout.logp.itemsize * place, logp)
    if bits := layout.upper_bits:
        first = start + (2 + layout.logp.itemsize) * count
        shifted = (ids >> LOW_BITS) << (place * bits % 8)
        np.bitwise_or.at(rows_B, first + place * bits // 8, shifted.astype(np.uint8))
    return rows_B, counts_P


def _write(rows_B: Bytes, places: NDArray[np.int64], values: NDArray[np.generic]) -> None:
    """Writes values of several bytes at unaligned places."""
    width = values.dtype.itemsize
    rows_B[places[:, None] + np.arange(width)] = values.view(np.uint8).reshape(-1, width)


def unpack_rows(
    rows_B: Bytes, starts_N: NDArray[np.int64], counts_N: NDArray[np.integer], layout: RowFormat, *, width: int
) -> tuple[NDArray[np.int32], Logp]:
    """Token ids and log-probabilities of some rows, (N, K), in the order in which they were packed.

    Args:
        rows_B: the bytes of all rows.
        starts_N: where each of these rows begins.
        counts_N: how many tokens it keeps, at most `width`.
        layout: of the rows.
        width: K. Entries beyond a row's count are absent: minus infinity. Their ids are `filled` with others.
    """
    place_K = np.arange(width)
    start_N1, count_N1 = starts_N[:, None], counts_N.astype(np.int64)[:, None]
    kept_NK = place_K < count_N1
    ids_NK = np.zeros(kept_NK.shape, np.int32)
    logp_NK = np.full(kept_NK.shape, -np.inf, layout.logp)
    logp_width = layout.logp.itemsize
    ids_NK[kept_NK] = _read(rows_B, (start_N1 + 2 * place_K)[kept_NK], np.dtype("<u2"))
    logp_NK[kept_NK] = _read(rows_B, (start_N1 + 2 * count_N1 + logp_width * place_K)[kept_NK], layout.logp)
    if bits := layout.upper_bits:
        byte_NK = start_N1 + (2 + logp_width) * count_N1 + place_K * bits // 8
        upper = rows_B[byte_NK[kept_NK]] >> np.broadcast_to(place_K * bits % 8, kept_NK.shape)[kept_NK]
        ids_NK[kept_NK] |= (upper & ((1 << bits) - 1)).astype(np.int32) << LOW_BITS
    return ids_NK, logp_NK


def _read(rows_B: Bytes, places: NDArray[np.int64], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    return np.ascontiguousarray(rows_B[places[:, None] + np.arange(dtype.itemsize)]).view(dtype)[:, 0]


def filled(ids_NK: NDArray[np.int32], counts_N: NDArray[np.integer], vocab_size: int) -> NDArray[np.int32]:
    """The ids of rows whose absent entries have the smallest ids that the row does not keep, each once.

    `bucketed` needs it: at an absent entry it writes the student's own logit of this token, which would undo what it
    wrote for the same id among the kept ones.

    Args:
        ids_NK: ids, of which the first `counts_N` of a row are kept.
        counts_N: how many are.
        vocab_size: at least K.
    """
    positions, width = ids_NK.shape
    kept_NK = np.arange(width) < counts_N[:, None]
    if kept_NK.all():
        return ids_NK
    taken_NJ = np.zeros((positions, min(2 * width, vocab_size)), bool)  # at least K of so many are free, or V - n
    row, column = np.nonzero(kept_NK & (ids_NK < taken_NJ.shape[1]))
    taken_NJ[row, ids_NK[row, column]] = True
    free_NK = np.argsort(taken_NJ, axis=1, kind="stable")[:, :width].astype(np.int32)
    shift_NK = np.clip(np.arange(width) - counts_N[:, None], 0, None)
    return np.where(kept_NK, ids_NK, np.take_along_axis(free_NK, shift_NK, axis=1))
