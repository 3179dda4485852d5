"""Sparse log-probabilities as bytes: 16 or 18 bits for an id, and no byte for a token that is not kept."""

import random
import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from understudy.errors import PoolError
from understudy.pool.logprob_rows import RowFormat, filled, pack_rows, row_format, unpack_rows

VOCABULARIES = [60, 1 << 16, (1 << 16) + 1, 1 << 18, 262_145, 1 << 20, 1 << 24]


def random_rows(
    vocab_size: int, *, positions: int = 50, width: int = 14
) -> tuple[NDArray[np.int32], NDArray[np.float16]]:
    """Rows that keep 0 to `width` tokens, the largest id among them."""
    draw = np.random.default_rng(vocab_size)
    own = random.Random(vocab_size)
    ids = np.array([own.sample(range(vocab_size), width) for _ in range(positions)], np.int32)
    ids[0, 0] = vocab_size - 1
    ids[0, 1:] = np.arange(width - 1)
    logp = -draw.random((positions, width)).astype(np.float16)
    logp[np.arange(width) >= np.append([width, 0, 1], draw.integers(0, width + 1, positions - 3))[:, None]] = -np.inf
    return ids, logp


def naive_bytes(ids: list[int], logps: list[float], layout: RowFormat) -> bytes:
    """One row, token by token."""
    low = b"".join(struct.pack("<H", token & 0xFFFF) for token in ids)
    values = b"".join(struct.pack("<e" if layout.logp.itemsize == 2 else "<f", value) for value in logps)
    upper = sum(token >> 16 << (place * layout.upper_bits) for place, token in enumerate(ids))
    return low + values + upper.to_bytes(-(-len(ids) * layout.upper_bits // 8), "little")


@pytest.mark.parametrize("vocab_size", VOCABULARIES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_are_the_bytes_of_a_naive_loop_and_are_read_back(vocab_size: int, dtype: type) -> None:
    """In any order, each from where it begins."""
    ids, logp = random_rows(vocab_size)
    logp, layout = logp.astype(dtype), row_format(vocab_size, dtype)
    rows, counts = pack_rows(ids, logp, layout)
    kept = [(ids[row, :n].tolist(), logp[row, :n].tolist()) for row, n in enumerate(counts)]
    starts = np.cumsum(layout.sizes(counts)) - layout.sizes(counts)
    order = np.random.default_rng(0).permutation(len(ids))
    read_ids, read_logp = unpack_rows(rows, starts[order], counts[order], layout, width=14)

    assert rows.tobytes() == b"".join(naive_bytes(*row, layout) for row in kept)
    assert counts[:3].tolist() == [14, 0, 1]
    assert read_logp.dtype == dtype
    np.testing.assert_array_equal(read_logp, logp[order])
    assert [read_ids[n, : counts[row]].tolist() for n, row in enumerate(order)] == [kept[row][0] for row in order]


def test_the_default_row_has_at_most_57_bytes_with_its_count() -> None:
    """14 tokens of a vocabulary of up to 65,536; 18 bits up to 262,144 take 4 more."""
    sizes = {v: int(row_format(v, np.float16).sizes(np.array(14))) + 1 for v in VOCABULARIES}

    assert list(sizes.values()) == [57, 57, 61, 61, 64, 64, 71]


def test_a_vocabulary_beyond_24_bits_is_refused() -> None:
    """The message has its size and the remedy."""
    with pytest.raises(PoolError, match=r"24 bits.*16777217.*dense"):
        row_format((1 << 24) + 1, np.float16)


def test_a_token_in_the_middle_may_be_absent() -> None:
    """Only what is present is kept, in its order."""
    layout = row_format(100, np.float16)
    rows, counts = pack_rows(np.array([[5, 6, 7]], np.int32), np.array([[-1, -np.inf, -2]], np.float16), layout)
    ids, logp = unpack_rows(rows, np.zeros(1, np.int64), counts, layout, width=3)

    assert (ids[0, :2].tolist(), logp.tolist()) == ([5, 7], [[-1, -2, -np.inf]])


@pytest.mark.parametrize("vocab_size", [14, 15, 20, 60, 1 << 18])
def test_absent_entries_have_ids_that_the_row_lacks(vocab_size: int) -> None:
    """Each id is once in its row, and in the vocabulary; kept ones stay."""
    ids, logp = random_rows(vocab_size)
    counts = np.isfinite(logp).sum(axis=1)
    found = filled(np.where(np.isfinite(logp), ids, 0), counts, vocab_size)

    for row, n in enumerate(counts):
        assert found[row, :n].tolist() == ids[row, :n].tolist()
        assert len(set(found[row].tolist())) == 14
        assert 0 <= found[row].min() <= found[row].max() < vocab_size
