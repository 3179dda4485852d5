import inspect
import pickle
import re

import pytest

from understudy import errors
from understudy.errors import UnderstudyError, unknown_name

CLASSES = [error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, UnderstudyError)]


@pytest.mark.parametrize("error", CLASSES)
def test_an_error_survives_the_way_home(error: type[UnderstudyError]) -> None:
    """A worker's error arrives with its class and its sentence."""
    arrived = pickle.loads(pickle.dumps(error("one sentence")))  # noqa: S301 - our own bytes

    assert type(arrived) is error
    assert str(arrived) == "one sentence"
    assert isinstance(arrived, UnderstudyError)


def test_the_drawn_tree_is_the_tree() -> None:
    """Each class stands in the module's drawing below its own base."""
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([ │├└─]*)(\w+Error) ", line):
            depth = len(found[1])
            above = [(column, name) for column, name in above if column < depth]
            drawn[found[2]] = above[-1][1] if above else "Exception"
            above.append((depth, found[2]))

    assert drawn == {error.__name__: error.__bases__[0].__name__ for error in CLASSES}


def test_an_unknown_name_is_answered_with_the_known() -> None:
    """Sorted, with the nearest one where one is near."""
    assert str(unknown_name("fruit", "aple", ["pear", "apple"])) == (
        "unknown fruit 'aple'; known: apple, pear; did you mean 'apple'?"
    )
    assert str(unknown_name("fruit", "x", ["pear"])) == "unknown fruit 'x'; known: pear"
