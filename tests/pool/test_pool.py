import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from understudy.errors import PoolError
from understudy.pool import PseudoTargetPool, write_pool_file
from understudy.pool.rows import mark_copies
from understudy.records import PseudoTarget


def test_a_pool_is_the_same_however_it_is_divided_into_files(
    tmp_path: Path, pool: PseudoTargetPool, targets: list[PseudoTarget]
) -> None:
    """One file and two have the same rows in the same order, nan included."""
    (tmp_path / "whole").mkdir()
    write_pool_file(tmp_path / "whole" / "00000.parquet", targets, {"seed": "1"})
    whole = PseudoTargetPool.open(tmp_path / "whole")

    assert repr(list(whole)) == repr(list(pool)) == repr(targets)
    assert len(whole) == len(pool) == len(targets)


def test_columns_have_the_same_tokens_as_rows(pool: PseudoTargetPool, targets: list[PseudoTarget]) -> None:
    """Splitting the flat ids at the offsets gives each row's ids."""
    pieces = np.split(pool.token_ids, pool.offsets[1:-1])

    assert [tuple(piece.tolist()) for piece in pieces] == [target.token_ids for target in targets]
    assert list(pool.input_ids) == [target.input_id for target in targets]
    np.testing.assert_array_equal(pool.logprobs, [target.logprob for target in targets])


def test_texts_are_found_by_input(pool: PseudoTargetPool, targets: list[PseudoTarget]) -> None:
    """Inputs have the order of their first text, and each has its own rows."""
    assert pool.inputs == ("a", "b")
    assert pool.per_input.tolist() == [3, 3]
    assert pool.input_indices.tolist() == [0, 0, 0, 1, 1, 1]
    assert pool.targets_of("a") == targets[:3]


def test_rows_of_an_input_need_not_be_neighbours(tmp_path: Path, targets: list[PseudoTarget]) -> None:
    """Rows of a later round in another file are found with the first."""
    later = [replace(target, round=1, text=target.text + "!") for target in targets[:3]]
    for name, rows in {"0": targets, "1": later}.items():
        write_pool_file(tmp_path / f"{name}.parquet", rows, {})

    assert PseudoTargetPool.open(tmp_path).targets_of("a") == targets[:3] + later


def test_an_unknown_input_is_refused(pool: PseudoTargetPool) -> None:
    """The message names the input, the number of known inputs and the remedy."""
    with pytest.raises(PoolError, match=r"input 'c' .*2 inputs; generate the pool again"):
        pool.targets_of("c")


def test_a_folder_without_pool_files_is_refused(tmp_path: Path) -> None:
    """The message names the pattern and both remedies."""
    with pytest.raises(PoolError, match=r"\*\.parquet.*check the path, or generate"):
        PseudoTargetPool.open(tmp_path)


def test_files_of_differing_provenance_are_refused(tmp_path: Path, targets: list[PseudoTarget]) -> None:
    """The message names both files and each setting in which they differ, missing ones included."""
    write_pool_file(tmp_path / "0.parquet", targets[:3], {"seed": "1", "engine": "hf"})
    write_pool_file(tmp_path / "1.parquet", targets[3:], {"seed": "2", "engine": "hf", "top_p": "0.9"})

    with pytest.raises(
        PoolError,
        match=r"0\.parquet and .*1\.parquet differ in provenance: "
        r"seed is '1' and '2'; top_p is None and '0\.9'; move the files",
    ):
        PseudoTargetPool.open(tmp_path)


def test_a_sample_that_occurs_twice_is_refused(tmp_path: Path, targets: list[PseudoTarget]) -> None:
    """Overlapping files would count some texts twice, silently."""
    write_pool_file(tmp_path / "0.parquet", targets[:4], {})
    write_pool_file(tmp_path / "1.parquet", targets[3:], {})

    with pytest.raises(PoolError, match=r"sample 0 of input 'b' \(teacher, round 0\) 2 times.*delete"):
        PseudoTargetPool.open(tmp_path)


def test_statistics_agree_with_counting_by_hand(pool: PseudoTargetPool, targets: list[PseudoTarget]) -> None:
    """Each number equals the one plain Python finds on the rows."""
    found = pool.statistics(eos_id=1)
    known = [target for target in targets if target.logprob == target.logprob]

    assert (found["texts"], found["inputs"], found["per_input"]) == (6, 2, 3.0)
    assert found["duplicates"] == pytest.approx(1 / 6)
    assert found["distinct"] == pytest.approx(len({target.text for target in targets}) / 6)
    assert found["unfinished"] == pytest.approx(1 / 6)
    assert found["generators"] == Counter(target.generator for target in targets)
    assert found["logprob_per_token"] == pytest.approx(
        sum(target.logprob for target in known) / sum(len(target.token_ids) for target in known)
    )


def test_length_histogram_has_a_bin_per_length(pool: PseudoTargetPool) -> None:
    """No length falls between two bins, and every text is counted once."""
    lengths = pool.statistics()["lengths"]

    assert lengths is not None
    assert (lengths["edges"], lengths["counts"]) == ([1.5, 2.5, 3.5, 4.5], [3, 2, 1])
    assert lengths["mean"] == pytest.approx(16 / 6)
    assert (lengths["p50"], lengths["max"]) == (2.5, 4)


def test_unknown_statistics_are_none(tmp_path: Path) -> None:
    """An API teacher's text has neither token ids nor a log-probability; the result is still valid JSON."""
    write_pool_file(tmp_path / "0.parquet", [PseudoTarget("a", "api", 0, 0, (), "x", float("nan"))], {})
    found = PseudoTargetPool.open(tmp_path).statistics(eos_id=1)

    assert (found["unfinished"], found["logprob_per_token"], found["lengths"]) == (None, None, None)
    assert json.dumps(found, allow_nan=False)


def test_an_empty_pool_has_statistics(tmp_path: Path) -> None:
    """A file may be empty; no count divides by zero."""
    write_pool_file(tmp_path / "0.parquet", [], {})
    pool = PseudoTargetPool.open(str(tmp_path))

    assert (list(pool), pool.inputs, pool.statistics(eos_id=1)["texts"]) == ([], (), 0)


def test_copies_count_equal_texts_of_one_input(targets: list[PseudoTarget]) -> None:
    """Equal texts of two inputs are not copies, and no row is dropped."""
    marked = mark_copies(targets)

    assert [target.copies for target in marked] == [2, 2, 1, 1, 1, 1]
    assert [target.text for target in marked] == [target.text for target in targets]
