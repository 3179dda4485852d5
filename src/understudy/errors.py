"""The exceptions that understudy raises on purpose, and the helpers that word their messages.

    UnderstudyError              `except UnderstudyError` catches every error a user can fix
    ├── ConfigError              invalid or contradictory settings
    ├── DataError                a file, a line or an example that cannot be used
    ├── ModelError               a checkpoint that cannot be built, loaded or pruned
    │   └── VocabularyError      teacher and student lack the tokens they must share
    ├── GenerationError          an engine or an endpoint that cannot generate the requested text
    ├── ObjectiveError           tensors an objective cannot compare
    ├── TrainingError            a training that diverged
    ├── StoreError               a run folder that is locked, damaged, full or made with other settings
    │   └── PoolError            pseudo-targets that are missing or do not belong together
    └── EvaluationError          predictions that cannot be scored

Each class also inherits the standard exception it refines. All carry one string, so they can be pickled
between processes. A message names what was requested, what was found, and what to do.
"""

import difflib
from collections.abc import Iterable

LONGEST_VALUE = 80
"""Characters of a wrong value that a message shows."""


class UnderstudyError(Exception):
    """Base class: one sentence a user can act on."""


class ConfigError(UnderstudyError, ValueError):
    """The settings are invalid or contradict each other."""


class DataError(UnderstudyError, ValueError):
    """A file, a line or an example cannot be used."""


class ModelError(UnderstudyError, ValueError):
    """A checkpoint cannot be built, loaded or pruned."""


class VocabularyError(ModelError):
    """Teacher and student lack the tokens they must share."""


class GenerationError(UnderstudyError, RuntimeError):
    """An engine or an endpoint cannot generate the requested text."""


class ObjectiveError(UnderstudyError, ValueError):
    """An objective cannot compare these tensors."""


class TrainingError(UnderstudyError, ArithmeticError):
    """A training diverged."""


class StoreError(UnderstudyError, OSError):
    """A run folder is locked, damaged, full or was made with other settings."""


class PoolError(StoreError):
    """Pseudo-targets are missing or do not belong together."""


class EvaluationError(UnderstudyError, ValueError):
    """Predictions cannot be scored."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint at the known name nearest to `name`, to be appended to a message; empty if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def unknown_name(what: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error of every lookup table: the unknown name, the known ones, and the nearest of them."""
    names = sorted(known)
    return ConfigError(f"unknown {what} {name!r}; known: {', '.join(names)}{did_you_mean(name, names)}")


def shortened(value: object) -> str:
    """The repr of a wrong value, cut to a length that fits into a message."""
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def first_line(error: BaseException) -> str:
    """The first line of another library's error message, or the error's class name if it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
