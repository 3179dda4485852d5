from pathlib import Path

import pytest
import torch

from understudy.config.objectives import TAID, CrossEntropy, Custom, SkewKL
from understudy.errors import ConfigError
from understudy.objectives import OBJECTIVES, objective_named, objective_of

SOURCE = """
def squared(student_logits_NV, teacher_logits_NV, *, scale=1.0):
    return scale * (student_logits_NV - teacher_logits_NV).square().sum()

def first_label(student_logits_NV, labels_N):
    return -student_logits_NV[0, labels_N[0]]

first_label.needs = "labels"

def strange(student_logits_NV, teacher_logits_NV):
    return 0

strange.needs = "attention"
number = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A file with objectives of the user's own."""
    path = tmp_path / "own.py"
    path.write_text(SOURCE)
    return str(path)


def test_a_section_gives_its_objective_and_its_settings() -> None:
    """The kind chooses the function; the other fields are its arguments, but those of TAID belong to its schedule."""
    assert objective_of(SkewKL(alpha=0.2)) == (OBJECTIVES["skew_kl"], {"alpha": 0.2})
    assert objective_of(CrossEntropy()) == (OBJECTIVES["cross_entropy"], {"label_smoothing": 0.0})
    assert objective_of(TAID()) == (OBJECTIVES["taid"], {})


def test_an_unknown_objective_is_answered_with_the_known_ones() -> None:
    """The message proposes the nearest name."""
    with pytest.raises(ConfigError, match=r"unknown objective 'forward_lk'; known: .*did you mean 'forward_kl'"):
        objective_named("forward_lk")


def test_a_function_of_the_users_own_is_an_objective(file: str) -> None:
    """It compares with the teacher's logits unless its attribute names something else."""
    objective, settings = objective_of(Custom(function=f"{file}:squared", settings={"scale": 2.0}), allow_code=True)
    loss = objective.function(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]]), **settings)

    assert (objective.needs, objective.moves) == ("teacher_logits", False)
    assert loss.item() == 2 * (1 + 4)
    assert objective_named(f"{file}:first_label", allow_code=True).needs == "labels"


def test_a_function_of_the_users_own_needs_permission(file: str) -> None:
    """The message names the option."""
    with pytest.raises(ConfigError, match="--allow-code"):
        objective_of(Custom(function=f"{file}:squared"))


@pytest.mark.parametrize(
    ("name", "settings", "found"),
    [
        ("number", {}, r"own\.py:number' is of type int, not a function"),
        ("strange", {}, r"needs = 'attention'; known: labels, teacher_best, teacher_logits"),
        ("squared", {"size": 2.0}, r"the settings \{'size': 2\.0\}: got an unexpected keyword argument 'size'"),
    ],
)
def test_what_is_no_objective_is_refused(file: str, name: str, settings: dict[str, float], found: str) -> None:
    """Before anything is trained; the message gives what was found."""
    with pytest.raises(ConfigError, match=found):
        objective_of(Custom(function=f"{file}:{name}", settings=settings), allow_code=True)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("1.0", r"returned a float; return a scalar tensor"),
        ("(student - teacher).square().sum(-1)", r"returned a tensor of shape \(2,\); return a scalar tensor"),
        ("(student.detach() - teacher).square().sum()", r"returned a loss without a gradient"),
        ("(student * teacher).sum().log() * 0", r"returned nan for finite logits of the student; correct the function"),
        ("1 / 0", r"raised ZeroDivisionError: division by zero .*own\.py:2"),
        ("exit(3)", r"raised SystemExit: 3"),
    ],
)
def test_what_is_no_loss_is_refused(tmp_path: Path, body: str, found: str) -> None:
    """The message names the function, what it returned, and what it should return."""
    file = tmp_path / "own.py"
    file.write_text(f"def own(student, teacher):\n    return {body}\n")
    function = objective_named(f"{file}:own", allow_code=True).function

    with pytest.raises(ConfigError, match=rf"own\.py:own' {found}"):
        function(torch.zeros(2, 3, requires_grad=True), torch.ones(2, 3))
