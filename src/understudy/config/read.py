"""Reads recipes and endpoint settings: YAML and overrides in, a validated model out, all findings in one error."""

import copy
import typing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from understudy.config.conflicts import recipe_conflicts
from understudy.config.distil import Distil
from understudy.config.endpoint import Endpoint
from understudy.config.findings import findings_of, invalid
from understudy.config.presets import PRESETS, preset_named
from understudy.config.recipe import Recipe
from understudy.config.task import Format
from understudy.config.yaml_files import read_mapping, with_absolute_paths
from understudy.config.yaml_values import dump_yaml, load_yaml
from understudy.errors import ConfigError, shortened

DEFAULT_METHOD: str = Distil.model_fields["method"].default
METHOD_SECTIONS = frozenset({"distil", "pseudo_targets", "training"})
"""The sections whose defaults a method provides."""


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file.

    Args:
        path: the file; paths inside it are relative to its folder, and its name is the default of `name`.
        overrides: settings that replace those of the file, such as `training.learning_rate=3e-4`; paths in them are
            relative to the current folder.

    Raises:
        ConfigError: if the file cannot be read, or for any unknown, missing, invalid or contradictory setting;
            one error reports all findings, a line each.
    """
    raw = read_mapping(path, "recipe")
    raw.setdefault("name", Path(path).stem)
    return check_recipe(with_absolute_paths(raw, Path(path).parent), overrides, where=str(path))


def read_endpoint(path: str | Path, overrides: Sequence[str] = ()) -> Endpoint:
    """The endpoint settings in a YAML file, with overrides.

    Raises:
        ConfigError: as `read_recipe`.
    """
    requested = read_mapping(path, "endpoint")
    if isinstance(requested.get("recorded"), str):
        requested["recorded"] = str(Path(path).parent / requested["recorded"])
    return check_endpoint(requested, overrides, where=str(path))


def check_endpoint(
    raw: Mapping[str, Any], overrides: Sequence[str] = (), *, where: str = "endpoint", option: str = "--set"
) -> Endpoint:
    """Endpoint settings from plain data, with overrides that an option of the command line gives.

    Raises:
        ConfigError: for any unknown, missing or invalid setting; one error reports all findings.
    """
    requested = copy.deepcopy(dict(raw))
    for override in overrides:
        _apply_override(requested, override, option, "temperature=0.7")
    try:
        return Endpoint.model_validate(requested)
    except ValidationError as error:
        raise invalid(where, findings_of(error.errors(), Endpoint, prefix="teacher.endpoint.")) from None


def check_format(raw: Mapping[str, Any] | str) -> Format:
    """The section `task.format` from plain data, or from the name of one format.

    Raises:
        ConfigError: for any unknown or invalid setting.
    """
    try:
        return Format.model_validate(raw)
    except ValidationError as error:
        raise invalid("format", findings_of(error.errors(), Format)) from None


def check_recipe(raw: Mapping[str, Any], overrides: Sequence[str] = (), *, where: str = "recipe") -> Recipe:
    """A recipe from plain data.

    Args:
        raw: the settings; those that are missing come from the method's preset, then from the defaults. Paths are
            relative to the current folder.
        overrides: settings that replace those of `raw`, such as `training.learning_rate=3e-4`.
        where: the name of the recipe in errors.

    Raises:
        ConfigError: for any unknown, missing, invalid or contradictory setting; one error reports all findings.
    """
    requested = copy.deepcopy(dict(raw))
    for override in overrides:
        _apply_override(requested, override)
    requested = with_absolute_paths(requested, Path())
    distil = requested.setdefault("distil", {})
    method = distil.get("method", DEFAULT_METHOD) if isinstance(distil, dict) else None
    findings, unchecked = [], frozenset[str]()
    try:
        preset = preset_named(method).defaults() if isinstance(method, str) else {}
    except ConfigError as error:
        # Without the method's values its sections cannot be checked; the others are.
        findings, unchecked = [f"distil.method: {error}"], METHOD_SECTIONS
        preset = PRESETS[DEFAULT_METHOD].defaults()
        requested = {key: value for key, value in requested.items() if key not in METHOD_SECTIONS}
    filled = merge(preset, requested)
    try:
        recipe = Recipe.model_validate(filled)
    except ValidationError as error:
        sections = {name: value for name, value in _valid_sections(filled).items() if name not in unchecked}
        # Errors without a location are the recipe's conflicts, which pydantic omits if any section is invalid.
        of_sections = [details for details in error.errors() if details["loc"]]
        findings += [*findings_of(of_sections, Recipe), *recipe_conflicts(sections)]
    if findings:
        raise invalid(where, findings)
    return recipe


def _valid_sections(raw: Mapping[str, Any]) -> dict[str, object]:
    """The top-level values of a recipe that are valid by themselves."""
    valid = {}
    for name, annotation in typing.get_type_hints(Recipe, include_extras=True).items():
        field = Recipe.model_fields.get(name)
        if field is not None and name in raw:
            with suppress(ValidationError):
                valid[name] = TypeAdapter(annotation).validate_python(raw[name])
        elif field is not None and not field.is_required():
            valid[name] = field.default
    return valid


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Puts `above` over `below`, section by section; a variant of another kind replaces the whole section."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        # Shares belong together: `targets: {gold: 1}` must not keep the preset's share of teacher texts.
        if isinstance(under, dict) and isinstance(value, dict) and _same_kind(under, value) and key != "targets":
            merged[key] = merge(under, value)
        else:
            merged[key] = value
    return merged


def _same_kind(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    return bool(above.get("kind", below.get("kind")) == below.get("kind"))


def _apply_override(
    raw: dict[str, Any], override: str, option: str = "--set", example: str = "training.epochs=5"
) -> None:
    """Changes one setting in place, as an option of the command line says.

    Raises:
        ConfigError: if the override is not of the form `key=value`, or its key cannot be set.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"{option} expects key=value, got {override!r}; for example {option} {example}")
    *sections, last = key.split(".")
    at = raw
    for section in sections:
        if section == "targets" and section not in at:
            raise ConfigError(
                f"--set {key}: the recipe takes distil.targets from its method, and setting one share would make the "
                "others 0; set all of them, for example --set 'distil.targets={gold: 0.2, teacher: 0.4, student: 0.4}'"
            )
        inner = at.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{option} {key}: {section} is {inner!r}, which is not a section with keys")
        at = inner
    at[last] = load_yaml(text, f"{option} {key}: {shortened(text)}")


def to_yaml(recipe: Recipe) -> str:
    """The recipe with every default filled in, as YAML that reads back to the same recipe."""
    plain = TypeAdapter(Recipe).dump_python(recipe, mode="json", by_alias=True)
    return dump_yaml(plain)
