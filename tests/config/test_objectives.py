import inspect
import typing

import pytest

from understudy.config.objectives import AnyObjective
from understudy.config.section import Section
from understudy.objectives import OBJECTIVES

KINDS: dict[str, type[Section]] = {
    section.model_fields["kind"].default: section for section in typing.get_args(typing.get_args(AnyObjective)[0])
}


def test_the_kinds_are_the_objectives_there_are() -> None:
    """What a recipe can ask for and what can be computed are one set."""
    assert set(KINDS) == set(OBJECTIVES)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"taid"}))  # its t is moved by the loop
def test_the_fields_are_the_parameters(kind: str) -> None:
    """Each field of an objective reaches its function: none is swallowed, and the defaults are the same."""
    parameters = inspect.signature(OBJECTIVES[kind].function).parameters.values()
    expected = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    fields = KINDS[kind].model_fields
    assert {name: field.default for name, field in fields.items() if name != "kind"} == expected
