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
    """Each objective of the table has a section and the reverse; `custom` is code of the user's own."""
    assert set(KINDS) == {*OBJECTIVES, "custom"}


@pytest.mark.parametrize("kind", sorted(set(OBJECTIVES) - {"taid"}))  # the loop passes its t
def test_the_fields_are_the_parameters(kind: str) -> None:
    """Each field of an objective reaches its function: none is swallowed, and the defaults are the same."""
    parameters = inspect.signature(OBJECTIVES[kind].function).parameters.values()
    expected = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    fields = KINDS[kind].model_fields
    assert {name: field.default for name, field in fields.items() if name != "kind"} == expected
