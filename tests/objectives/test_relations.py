import math

import pytest
import torch
from torch import Tensor

from understudy.errors import ObjectiveError
from understudy.objectives.relations import relation_kl

B, T, HEADS = 3, 5, 2
STUDENT, TEACHER = 4, 6
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 1, 0, 1]], dtype=torch.bool)
BOTH_WAYS = pytest.mark.parametrize("causal", [False, True], ids=["whole", "causal"])


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def states() -> tuple[Tensor, Tensor]:
    """Of a student and of a wider teacher."""
    return torch.randn(B, T, STUDENT), torch.randn(B, T, TEACHER)


def row(states_TW: Tensor, head: int, position: int, columns: list[int]) -> Tensor:
    """One row of one head's relations, over the listed columns."""
    width = states_TW.shape[1] // HEADS
    states_TD = states_TW[:, head * width : (head + 1) * width]
    scores = [(states_TD[position] @ states_TD[column]) / math.sqrt(width) for column in columns]
    return torch.stack(scores).softmax(dim=0)


def naive(student_BTW: Tensor, teacher_BTW: Tensor, *, causal: bool) -> Tensor:
    """The definition, row after row, in float64."""
    examples = []
    for student_TW, teacher_TW, mask_T in zip(student_BTW.double(), teacher_BTW.double(), MASK, strict=True):
        true = [position for position in range(T) if mask_T[position]]
        rows = []
        for head in range(HEADS):
            for position in true:
                columns = [column for column in true if column <= position or not causal]
                p, q = row(teacher_TW, head, position, columns), row(student_TW, head, position, columns)
                rows.append((p * (p.log() - q.log())).sum())
        examples.append(torch.stack(rows).mean())
    return torch.stack(examples)


@BOTH_WAYS
def test_agrees_with_the_definition(causal: bool) -> None:
    """A naive loop over examples, heads and rows gives the same numbers, one for each example."""
    student_BTW, teacher_BTW = states()

    found_B = relation_kl(student_BTW, teacher_BTW, MASK, heads=HEADS, causal=causal)

    assert found_B.shape == (B,)
    torch.testing.assert_close(found_B, naive(student_BTW, teacher_BTW, causal=causal).float())


@BOTH_WAYS
def test_gradient_is_the_slope_of_the_definition(causal: bool) -> None:
    """Central differences of the naive loop, in float64."""
    student_BTW, teacher_BTW = states()
    slope_BTW = torch.zeros(B, T, STUDENT, dtype=torch.float64)
    for index in range(student_BTW.numel()):
        nudge = torch.zeros(B * T * STUDENT, dtype=torch.float64)
        nudge[index] = 1e-5
        nudge = nudge.view(B, T, STUDENT)
        above = naive(student_BTW + nudge, teacher_BTW, causal=causal).sum()
        below = naive(student_BTW - nudge, teacher_BTW, causal=causal).sum()
        slope_BTW.view(-1)[index] = (above - below) / 2e-5
    student_BTW.requires_grad_()
    torch.autograd.backward(relation_kl(student_BTW, teacher_BTW, MASK, heads=HEADS, causal=causal).sum())

    assert slope_BTW.abs().max() > 1e-3
    torch.testing.assert_close(student_BTW.grad, slope_BTW.float(), rtol=1e-4, atol=1e-6)


@BOTH_WAYS
@pytest.mark.parametrize("garbage", [math.inf, math.nan])
def test_masked_positions_take_no_part(causal: bool, garbage: float) -> None:
    """Any content there leaves the values unchanged, and the gradient there is zero."""
    student_BTW, teacher_BTW = states()
    expected_B = relation_kl(student_BTW, teacher_BTW, MASK, heads=HEADS, causal=causal)
    student_BTW[~MASK], teacher_BTW[~MASK] = garbage, garbage
    student_BTW.requires_grad_()
    found_B = relation_kl(student_BTW, teacher_BTW, MASK, heads=HEADS, causal=causal)
    torch.autograd.backward(found_B.sum())

    assert torch.equal(found_B, expected_B)
    assert student_BTW.grad is not None
    assert student_BTW.grad.isfinite().all()
    assert not student_BTW.grad[~MASK].any()
    assert student_BTW.grad[MASK].any()


def test_equal_relations_have_no_divergence() -> None:
    """Turning the space of a head changes no relation within it."""
    teacher_BTW = torch.randn(B, T, TEACHER)
    turn = torch.linalg.qr(torch.randn(TEACHER // HEADS, TEACHER // HEADS))[0]
    turned_BTW = torch.cat([part @ turn for part in teacher_BTW.chunk(HEADS, dim=-1)], dim=-1)
    found_B = relation_kl(turned_BTW, teacher_BTW, MASK, heads=HEADS, causal=False)

    torch.testing.assert_close(found_B, torch.zeros(B), rtol=0, atol=1e-5)


def test_the_teacher_gets_no_gradient() -> None:
    """Only the student is moved."""
    student_BTW, teacher_BTW = states()
    student_BTW.requires_grad_()
    teacher_BTW.requires_grad_()
    torch.autograd.backward(relation_kl(student_BTW, teacher_BTW, MASK, heads=HEADS, causal=False).sum())

    assert teacher_BTW.grad is None


def test_an_example_without_positions_is_zero() -> None:
    """It has no rows to take a mean of; the gradient stays finite."""
    student_BTW, teacher_BTW = states()
    student_BTW.requires_grad_()
    found_B = relation_kl(student_BTW, teacher_BTW, torch.zeros_like(MASK), heads=HEADS, causal=True)
    torch.autograd.backward(found_B.sum())

    assert torch.equal(found_B, torch.zeros(B))
    assert student_BTW.grad is not None
    assert not student_BTW.grad.any()


def test_half_precision_and_autocast_compute_in_float32() -> None:
    """The result is that of the same numbers in float32, also under mixed precision."""
    student_BTW, teacher_BTW = (states_BTW.bfloat16() for states_BTW in states())
    expected_B = relation_kl(student_BTW.float(), teacher_BTW.float(), MASK, heads=HEADS, causal=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found_B = relation_kl(student_BTW, teacher_BTW, MASK, heads=HEADS, causal=False)

    assert found_B.dtype == torch.float32
    assert torch.equal(found_B, expected_B)


@pytest.mark.parametrize("heads", [0, 3, 4])
def test_heads_must_divide_both_widths(heads: int) -> None:
    """The message shows both widths and the numbers that would do."""
    with pytest.raises(ObjectiveError, match=rf"{heads} heads.*width 4 of the student and 6 of.*both: 1, 2$"):
        relation_kl(*states(), MASK, heads=heads, causal=False)


def test_different_positions_are_refused() -> None:
    """The message shows all three shapes."""
    student_BTW, teacher_BTW = states()
    with pytest.raises(ObjectiveError, match=r"\(3, 4, 4\).*\(3, 5, 6\).*\(3, 5\).*tokenizer"):
        relation_kl(student_BTW[:, :-1], teacher_BTW, MASK, heads=HEADS, causal=False)
    with pytest.raises(ObjectiveError, match=r"\(3, 5, 4\).*\(3, 5, 6\).*\(3, 4\).*tokenizer"):
        relation_kl(student_BTW, teacher_BTW, MASK[:, :-1], heads=HEADS, causal=False)
