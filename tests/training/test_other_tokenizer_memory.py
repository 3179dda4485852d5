"""What becomes of a teacher's logits in the tokens of a student is not larger than they may be."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.training.test_other_tokenizer import TEXTS, Make, letters, reads, scored, words
from torch import Tensor

from understudy.models.byte_prefix import BytePrefixMap
from understudy.training import other_tokenizer, teacher_logprobs
from understudy.training.byte_prefix_mass import student_mass


@pytest.mark.parametrize(("teacher", "student"), [(words, letters), (letters, words)])
def test_the_larger_vocabulary_splits_batches(teacher: Make, student: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither logits nor what they become is larger than the limit, unless that of one text is."""
    rows, whole = scored(reads(teacher()), reads(student()), TEXTS)
    monkeypatch.setattr(teacher_logprobs, "MAX_LOGITS", limit := 60 * max(len(teacher()), len(student())))
    made: list[tuple[int, int]] = []

    def measured(logits_NV: Tensor, ids: NDArray[np.integer], positions: Any, tokens: BytePrefixMap) -> Tensor:  # noqa: ANN401
        mass_PS = student_mass(logits_NV, ids, positions, tokens)
        made.append((max(logits_NV.numel(), mass_PS[:, : tokens.rest].numel()), len({one.before for one in positions})))
        return mass_PS

    monkeypatch.setattr(other_tokenizer, "student_mass", measured)
    _, parts = scored(reads(teacher()), reads(student()), TEXTS)

    assert len(made) > 1
    assert max(size for size, texts in made if texts > 1) <= limit
    np.testing.assert_allclose(np.exp(parts.logp_PK), np.exp(whole.logp_PK), atol=1e-5)
    assert len(rows) == len(TEXTS)
