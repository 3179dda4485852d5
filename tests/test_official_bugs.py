"""What the paper's official code gets wrong, where no room's own tests hold against it.

docs/design.md lists all of them with the test that does.
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
LEARNING = ("teacher", "training", "objectives", "pool", "models", "generation")
"""Rooms in which nothing may know that there is a test split."""
LEARNING_STAGES = ("teach.py", "lessons.py", "networks.py", "writing.py")


def names(tree: ast.AST) -> set[str]:
    """Names called as functions or imported as modules."""
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return called | modules


def test_data_is_never_run_as_code() -> None:
    """No eval on strings that came from a file, nothing that unpickles."""
    assert {path: names(tree) & RUNS_DATA for path, tree in TREES.items() if names(tree) & RUNS_DATA} == {}


def test_weights_are_unpickled_without_code() -> None:
    """`torch.load` is always told to load weights only."""
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
    """A negative temperature is no other way to ask for nucleus filtering: it is refused."""
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_nothing_that_learns_knows_the_test_split() -> None:
    """Test is read where systems answer, once they have learned."""
    learning = {
        path: tree
        for path, tree in TREES.items()
        if path.relative_to(PACKAGE).parts[0] in LEARNING or path.name in LEARNING_STAGES
    }
    reads = {
        path.name
        for path, tree in learning.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr == "test")
        or (isinstance(node, ast.Constant) and node.value == "test")
    }
    assert learning
    assert reads == set()
