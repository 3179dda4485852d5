"""Bugs of the paper's official code that no test of a single package would find.

docs/architecture.md lists all of them with their tests.
"""

import ast
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import understudy
from understudy.config.decoding import Sampling

PACKAGE = Path(understudy.__file__).parent
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
RUNS_DATA = {"eval", "exec", "compile", "pickle", "marshal", "shelve"}
TRAINING = ("training", "objectives", "pool", "models", "generation")
"""Packages in which nothing may name the test split."""
TRAINING_STAGES = (
    "fine_tuned.py",
    "pool_selection.py",
    "pseudo_targets.py",
    "student.py",
    "teacher.py",
    "teacher_logprobs.py",
    "tokenizer.py",
    "training.py",
)
"""Modules of `pipeline/stages` in which a network or a tokenizer is trained, or training data is made."""
EXEMPT = ("models/length_limits.py",)
"""Checks the lengths of all splits before anything is trained."""


def names(tree: ast.AST) -> set[str]:
    """Names called as functions or imported as modules."""
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return called | modules


def test_data_is_never_executed_as_code() -> None:
    """There is no eval on strings from a file, and no file is unpickled.

    Executors pickle the stages that they send to the processes they started, which is no data from outside.
    """
    allowed = {path: {"pickle"} for path in TREES if path.relative_to(PACKAGE).parts[0] == "executors"}
    found = {path: (names(tree) & RUNS_DATA) - allowed.get(path, set()) for path, tree in TREES.items()}
    unpickling = {
        ast.unparse(node) for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    }

    assert {path: used for path, used in found.items() if used} == {}
    assert not {"pickle.load", "pickle.Unpickler"} & unpickling


def test_weights_are_unpickled_without_code() -> None:
    """Every `torch.load` has `weights_only=True`."""
    loads = [
        node
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert loads
    assert all(
        any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in node.keywords)
        for node in loads
    )


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"temperature": 0.0}, {"top_p": 0.0}, {"top_k": -1}])
def test_a_number_means_one_thing(wrong: dict[str, Any]) -> None:
    """A negative temperature does not switch to nucleus sampling: it is refused."""
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_nothing_that_trains_has_access_to_the_test_split() -> None:
    """Test is read where systems generate predictions, after they are trained."""
    stages = PACKAGE / "pipeline" / "stages"
    assert all((stages / name).is_file() for name in TRAINING_STAGES)
    trees = {
        path: tree
        for path, tree in TREES.items()
        if path.relative_to(PACKAGE).parts[0] in TRAINING or (path.parent == stages and path.name in TRAINING_STAGES)
    }
    reads = {
        path.relative_to(PACKAGE).as_posix()
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr == "test")
        or (isinstance(node, ast.Constant) and node.value == "test")
    }
    assert {path.relative_to(PACKAGE).parts[0] for path in trees} == {*TRAINING, "pipeline"}
    assert reads == set(EXEMPT)
