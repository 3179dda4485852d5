"""Reads YAML files as plain data, and resolves the paths that recipes contain. Nothing is validated here."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy.config.yaml_values import load_yaml
from understudy.custom_code import absolute_spec
from understudy.errors import ConfigError, shortened

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


LONGEST_SHOWN = 300
"""Characters of a path that a message shows as they are."""


def read_mapping(path: str | Path, what: str) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: if the file cannot be read or holds no mapping; `what` names the kind of file expected.
    """
    raw = load_yaml(_text_of(path, what), str(path))
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{path} contains {_kind_of(raw)}, not a mapping of keys to settings; give the path of a {what}"
        )
    return raw


def _text_of(path: str | Path, what: str) -> str:
    """The text of a file that should be YAML."""
    shown = str(path) if len(str(path)) < LONGEST_SHOWN and str(path).isprintable() else shortened(str(path))
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"no {what} at {shown}; give the path of a YAML file") from None
    except IsADirectoryError:
        raise ConfigError(f"{shown} is a folder, not a {what}; give the path of a YAML file") from None
    except (OSError, ValueError) as error:  # no permission; a name that is too long or holds a null character
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{what} {shown} cannot be read ({reason}); give the path of a YAML file") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{shown} is not UTF-8 text (byte {content[error.start]:#04x} at position {error.start}); save the file as "
            "UTF-8"
        ) from None


def _kind_of(raw: object) -> str:
    """What a YAML file holds instead of a mapping."""
    return {type(None): "nothing", list: "a list", str: "a text"}.get(type(raw), "a single value")


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
