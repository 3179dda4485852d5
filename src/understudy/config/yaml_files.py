"""Reads YAML files as plain data, and resolves the paths that recipes contain. Nothing is validated here."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from understudy.custom_code import absolute_spec
from understudy.errors import ConfigError

PATHS = (
    ("task", "files"),
    ("task", "format", "batch_requests"),
    ("task", "hub", "dataset"),
    ("task", "bertscore", "model"),
    ("teacher", "model"),
    ("teacher", "endpoint", "recorded"),
    ("student", "model"),
)
"""The keys of a recipe whose values may be paths, relative to the recipe's folder."""
CODE = (
    ("task", "checker"),
    ("task", "metrics"),
    ("task", "primary_metric"),
    ("distil", "objective", "function"),
    ("distil", "student_samples_objective", "function"),
)
"""The keys of a recipe whose values may name code as 'path/to/file.py:object', the path relative to its folder."""


def read_mapping(path: str | Path, what: str) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: if the file cannot be read or holds no mapping; `what` names the kind of file expected.
    """
    try:
        raw = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506 - a safe loader
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"no {what} at {path}; give the path of a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} contains {type(raw).__name__}, not a mapping of keys to settings ({what})")
    return raw


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that occurs twice in a mapping, where YAML would keep the last without a warning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1} repeats the key {key.value!r}; keep one")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def with_absolute_paths(raw: dict[str, Any], folder: str | Path) -> dict[str, Any]:
    """A copy of a recipe's plain data in which paths relative to `folder` are absolute.

    A value that may also be a name on the hub is changed only if such a file exists in the folder.
    """
    raw, folder = copy.deepcopy(raw), Path(folder).resolve()
    for *sections, key in PATHS:
        part = _section(raw, sections)
        if key not in part:
            continue
        if isinstance(part[key], dict):
            part[key] = {
                name: str(folder / path) if isinstance(path, str) else path for name, path in part[key].items()
            }
        elif isinstance(part[key], str) and (folder / part[key]).exists():
            part[key] = str(folder / part[key])
    for *sections, key in CODE:
        part = _section(raw, sections)
        if key in part:
            part[key] = _absolute_code(part[key], folder)
    return raw


def _section(raw: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A section of plain data; empty where it is not given or is no mapping."""
    part: object = raw
    for name in names:
        part = part.get(name) if isinstance(part, dict) else None
    return part if isinstance(part, dict) else {}


def _absolute_code(value: object, folder: Path) -> object:
    if isinstance(value, list):
        return [_absolute_code(one, folder) for one in value]
    return absolute_spec(value, folder) if isinstance(value, str) else value
