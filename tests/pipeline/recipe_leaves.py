"""The leaves of a recipe, and other valid values for each."""

import copy
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from understudy.config.read import check_recipe
from understudy.config.recipe import Recipe
from understudy.errors import ConfigError

Leaf = tuple[str, FieldInfo, object]
"""Its path with dots, its field and its value."""


def leaves(section: BaseModel, path: str = "") -> Iterator[Leaf]:
    """Every value of a section that is no section itself."""
    for name, field in type(section).model_fields.items():
        value, key = getattr(section, name), f"{path}{field.alias or name}"
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{key}.")
        else:
            yield key, field, value


def plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data, with every default filled in."""
    data: dict[str, Any] = TypeAdapter(Recipe).dump_python(recipe, mode="json", by_alias=True)
    return data


def changed(recipe: Recipe, leaf: Leaf, given: Mapping[str, Sequence[object]]) -> Recipe | None:
    """The recipe with another valid value at a leaf; None where no other value is valid.

    Args:
        recipe: a valid recipe.
        leaf: one of its leaves.
        given: path of a leaf, or `kind` of a section -> values to try, where the type is not enough.
    """
    path, field, value = leaf
    for candidate in [*given.get(path, ()), *candidates(field.annotation, value)]:
        data = copy.deepcopy(plain(recipe))
        *sections, key = path.split(".")
        part = data
        for section in sections:
            part = part[section]
        if isinstance(candidate, dict) and key == "kind":  # another member of a tagged union
            part.clear()
            part.update(candidate)
        else:
            part[key] = candidate
        try:
            other = check_recipe(data)
        except ConfigError:
            continue
        if other != recipe:
            return other
    return None


def candidates(annotation: Any, value: object) -> list[object]:  # noqa: ANN401 - a type
    """Values of a type that are tried one after another."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return candidates(arguments[0], value)
    if origin in {Union, types.UnionType}:
        return [one for argument in arguments for one in candidates(argument, value)]
    if origin is Literal:
        return [one for one in arguments if one != value]
    if origin is tuple:
        return [list(value[:-1]), list(value[1:])] if isinstance(value, tuple) and len(value) > 1 else []
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [{}]
    return of_plain_type(annotation, value)


def of_plain_type(kind: object, value: object) -> list[object]:
    """Values of a type without parts."""
    tried: dict[object, list[object]] = {
        bool: [not value],
        type(None): [None],
        int: [value + 1, value - 1, 2 * value] if isinstance(value, int) else [1, 2, 3, 30],
        float: [value / 2, value + 0.25, 0.95 * value] if isinstance(value, float) else [0.5],
        str: [f"{value}x"] if value is not None else ["x"],
        Path: [f"{value}x"] if value is not None else ["x"],
    }
    return tried.get(kind, [])
