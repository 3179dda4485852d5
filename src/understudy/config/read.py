"""From a YAML file and overrides to a checked recipe; all that is wrong with it, told at once."""

import copy
import difflib
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from understudy.config.distil import Distil
from understudy.config.endpoint import Endpoint
from understudy.config.presets import PRESETS
from understudy.config.recipe import Recipe
from understudy.config.section import Section
from understudy.errors import ConfigError, unknown_name

PATHS = (
    ("task", "files"),
    ("task", "hub", "dataset"),
    ("task", "bertscore", "model"),
    ("teacher", "model"),
    ("teacher", "endpoint", "recorded"),
    ("student", "model"),
)
"""Where a recipe names files; relative ones are meant from the recipe's folder."""
LONGEST = 80
"""Characters of a wrong value that a message shows."""


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with `key=value` overrides such as `training.learning_rate=3e-4`.

    Raises:
        ConfigError: if the file cannot be read, or anything in it is unknown, missing or out of range; all
            of it in one message, a line per finding.
    """
    raw = read_mapping(path, "recipe")
    raw.setdefault("name", path.stem)
    return check_recipe(anchored(raw, path.parent), overrides, where=str(path))


def read_endpoint(path: Path, overrides: Sequence[str] = ()) -> Endpoint:
    """The endpoint in a YAML file, with overrides.

    Raises:
        ConfigError: as `read_recipe`.
    """
    asked = read_mapping(path, "endpoint")
    if isinstance(asked.get("recorded"), str):
        asked["recorded"] = str(path.parent / asked["recorded"])
    for override in overrides:
        _set(asked, override)
    try:
        return Endpoint.model_validate(asked)
    except ValidationError as error:
        findings = "\n".join(f"  {_finding(details, Endpoint)}" for details in error.errors())
        raise ConfigError(f"{path} cannot be asked as it is written:\n{findings}") from None


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """A YAML file's mapping.

    Raises:
        ConfigError: naming `what` was looked for, if the file cannot be read or holds no mapping.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_Once)  # noqa: S506 - a safe loader
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"no {what} at {path}; give the path of a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds {type(raw).__name__}, not a mapping of names to settings ({what})")
    return raw


class _Once(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping: YAML keeps the last, and says nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1} gives {key.value!r} a second time; keep one")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def check_recipe(raw: Mapping[str, Any], overrides: Sequence[str] = (), *, where: str = "recipe") -> Recipe:
    """A recipe from plain data: overrides applied, the method's preset underneath, everything checked."""
    asked = copy.deepcopy(dict(raw))
    for override in overrides:
        _set(asked, override)
    distil = asked.setdefault("distil", {})
    method = distil.get("method", Distil.model_fields["method"].default) if isinstance(distil, dict) else None
    if isinstance(method, str) and method not in PRESETS:
        raise unknown_name("method", method, PRESETS)
    filled = merge(PRESETS[method].defaults(), asked) if isinstance(method, str) else asked
    try:
        return Recipe.model_validate(filled)
    except ValidationError as error:
        findings = "\n".join(f"  {_finding(details)}" for details in error.errors())
        raise ConfigError(f"{where} cannot be run as it is written:\n{findings}") from None


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, section by section; a variant of another kind replaces the one below whole."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        # Shares are one choice: `targets: {gold: 1}` must not keep the preset's teacher.
        if isinstance(under, dict) and isinstance(value, dict) and _same_kind(under, value) and key != "targets":
            merged[key] = merge(under, value)
        else:
            merged[key] = value
    return merged


def _same_kind(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    return bool(above.get("kind", below.get("kind")) == below.get("kind"))


def _set(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set takes key=value, got {override!r}; for example --set training.epochs=5")
    *sections, last = key.split(".")
    at = raw
    for section in sections:
        if section == "targets" and section not in at:
            raise ConfigError(
                f"--set {key}: shares are one choice, and the recipe leaves it to the method: the others would be 0; "
                "give all of them, for example --set 'distil.targets={gold: 0.2, teacher: 0.4, student: 0.4}'"
            )
        inner = at.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {key}: {section} is {inner!r} in the recipe, not a section with keys of its own")
        at = inner
    try:
        at[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: {text!r} is not YAML: {' '.join(str(error).split())}") from None


def anchored(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Relative paths of the recipe, made absolute where such a file exists beside it (a hub name stays)."""
    raw, folder = copy.deepcopy(raw), folder.resolve()
    for *sections, key in PATHS:
        part: object = raw
        for section in sections:
            part = part.get(section) if isinstance(part, dict) else None
        if not isinstance(part, dict) or key not in part:
            continue
        if isinstance(part[key], dict):
            part[key] = {
                name: str(folder / path) if isinstance(path, str) else path for name, path in part[key].items()
            }
        elif isinstance(part[key], str) and (folder / part[key]).exists():
            part[key] = str(folder / part[key])
    return raw


def _finding(details: ErrorDetails, root: type[Section] = Recipe) -> str:
    kind = details["type"]
    parts, sections = _walk(details["loc"][:-1] if kind == "extra_forbidden" else details["loc"], root)
    path = ".".join(parts)
    if kind == "extra_forbidden":
        key = str(details["loc"][-1])
        known = sorted(field.alias or name for s in sections for name, field in s.model_fields.items())
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{'.'.join([*parts, key])}: unknown key{hint} (known here: {', '.join(known)})"
    if kind == "missing":
        return f"{path}: is missing; add it"
    if kind == "value_error":  # one of our own sentences: it says what was found
        return f"{path or root.__name__.lower()}: {details['msg'].removeprefix('Value error, ')}"
    if kind in {"union_tag_not_found", "union_tag_invalid"}:
        return f"{path}: got {shortened(details['input'])}; kind is one of {', '.join(sorted(_tags(sections)))}"
    if kind in {"model_attributes_type", "model_type"}:
        return f"{path}: got {shortened(details['input'])}, but it is a section with keys of its own; {_keys(sections)}"
    return f"{path}: {details['msg']}, got {shortened(details['input'])}"


def _keys(sections: Collection[type[Section]]) -> str:
    """What may be written in a section that may be one of these."""
    tags = ", ".join(sorted(_tags(sections)))
    if any("kind" in section.model_fields for section in sections):
        return f"write {{kind: ...}}, where kind is one of {tags}"
    return f"its keys are {tags}"


def shortened(value: object) -> str:
    """A wrong value as a message shows it."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _walk(location: Iterable[str | int], root: type[Section]) -> tuple[list[str], set[type[Section]]]:
    """The path as the user wrote it, and the sections that may stand there.

    pydantic puts the tag of a union's variant behind the union's own key, and the name of a type where a value
    may be of several; neither is a part of the user's path. A tag chooses among the sections.
    """
    parts: list[str] = []
    sections: set[type[Section]] = {root}
    for part in location:
        if len(sections) > 1:
            sections = {s for s in sections if str(part) in _tags({s})}
            continue
        if not sections and isinstance(part, str):
            continue
        parts.append(str(part))
        fields = [s.model_fields[name] for s in sections for name in s.model_fields if name == part]
        sections = set().union(*(_sections(field.annotation) for field in fields))
    return parts, sections


def _tags(sections: Iterable[type[Section]]) -> set[str]:
    """The names of variants: their `kind`, or the keys that only they have."""
    kinds = {s.model_fields["kind"].default for s in sections if "kind" in s.model_fields}
    return kinds or {field.alias or name for s in sections for name, field in s.model_fields.items()}


def _sections(annotation: object) -> set[type[Section]]:
    if isinstance(annotation, types.GenericAlias) or typing.get_args(annotation):
        return set().union(*(_sections(inner) for inner in typing.get_args(annotation)))
    return {annotation} if isinstance(annotation, type) and issubclass(annotation, Section) else set()


def to_yaml(recipe: Recipe) -> str:
    """The recipe with every default filled in, as YAML that reads back to the same recipe."""
    plain = TypeAdapter(Recipe).dump_python(recipe, mode="json", by_alias=True)
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
