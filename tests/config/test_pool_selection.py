import inspect
import typing
from typing import Any

import pytest

from understudy.config.pool_selection import KeepAll, Selection
from understudy.config.read import check_recipe
from understudy.config.section import Section
from understudy.errors import ConfigError
from understudy.pool.selection import SELECTIONS

KINDS: dict[str, type[Section]] = {
    section.model_fields["kind"].default: section for section in typing.get_args(typing.get_args(Selection)[0])
}
SAMPLED = {"per_input": 4, "decoding": {"kind": "sampling"}}


def test_the_kinds_are_the_implemented_selections() -> None:
    """Every kind of a recipe has a function, and every function a kind; `all` needs none."""
    assert set(KINDS) - {"all"} == set(SELECTIONS)


@pytest.mark.parametrize("kind", sorted(SELECTIONS))
def test_the_fields_are_the_parameters_of_the_function(kind: str) -> None:
    """Each field reaches its function, and the defaults are the same."""
    parameters = inspect.signature(SELECTIONS[kind]).parameters.values()
    expected = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    fields = KINDS[kind].model_fields
    assert {name: field.default for name, field in fields.items() if name != "kind"} == expected


def test_all_texts_are_kept_by_default(minimal: dict[str, Any]) -> None:
    """The default selects nothing."""
    assert check_recipe(minimal).pseudo_targets.select == KeepAll()


def test_as_many_texts_as_are_generated_can_be_kept(minimal: dict[str, Any]) -> None:
    """The boundary is allowed."""
    requested = {**SAMPLED, "select": {"kind": "mbr", "n": 4}}

    assert check_recipe(minimal | {"pseudo_targets": requested}).pseudo_targets.select.model_dump()["n"] == 4


@pytest.mark.parametrize(
    ("select", "message"),
    [
        (
            {"kind": "mbr", "n": 5},
            r"pseudo_targets: select\.n is 5, .*per_input is 4.*lower select\.n.*raise per_input",
        ),
        ({"kind": "agreement", "n": 0}, r"select\.n: must be 1 to 10,000"),
        ({"kind": "distinct", "n": 2}, r"select\.n: unknown key"),
        ({"kind": "longest"}, r"select: got .*'longest'.*; kind is one of agreement, all, closest_to_gold"),
    ],
)
def test_an_impossible_selection_is_refused(minimal: dict[str, Any], select: dict[str, Any], message: str) -> None:
    """More texts than there are, none, a setting of another kind, and an unknown kind."""
    with pytest.raises(ConfigError, match=message):
        check_recipe(minimal | {"pseudo_targets": {**SAMPLED, "select": select}})
