import inspect
import pickle
import re

import pytest

from understudy import errors
from understudy.errors import UnderstudyError, did_you_mean, shortened, unknown_name

CLASSES = [error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, UnderstudyError)]


@pytest.mark.parametrize("error", CLASSES)
def test_an_error_survives_pickling(error: type[UnderstudyError]) -> None:
    """An error raised in a worker process arrives with its class and its message."""
    arrived = pickle.loads(pickle.dumps(error("one sentence")))  # noqa: S301 - our own bytes

    assert type(arrived) is error
    assert str(arrived) == "one sentence"
    assert isinstance(arrived, UnderstudyError)


def test_the_documented_tree_is_the_class_hierarchy() -> None:
    """The module's docstring shows each class below its own base."""
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([ │├└─]*)(\w+Error) ", line):
            depth = len(found[1])
            above = [(column, name) for column, name in above if column < depth]
            drawn[found[2]] = above[-1][1] if above else "Exception"
            above.append((depth, found[2]))

    assert drawn == {error.__name__: error.__bases__[0].__name__ for error in CLASSES}


def test_an_unknown_name_is_answered_with_the_known_names() -> None:
    """They are sorted, and the nearest one is suggested where one is near."""
    assert str(unknown_name("fruit", "aple", ["pear", "apple"])) == (
        "unknown fruit 'aple'; known: apple, pear; did you mean 'apple'?"
    )
    assert str(unknown_name("fruit", "x", ["pear"])) == "unknown fruit 'x'; known: pear"


def test_a_hint_is_given_only_for_a_near_name() -> None:
    """A name far from all known ones gets no misleading suggestion."""
    assert "'epochs'" in did_you_mean("epoch", ["epochs", "patience"])
    assert did_you_mean("zzz", ["epochs", "patience"]) == ""


def test_a_long_value_is_shortened_in_a_message() -> None:
    """A short value is shown whole."""
    assert shortened("b" * 200) == "'" + "b" * 79 + "..."
    assert shortened({"a": 1}) == "{'a': 1}"
