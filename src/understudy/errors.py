"""Everything understudy raises on purpose.

    UnderstudyError              except UnderstudyError: whatever the user can mend
    ├── ConfigError              a recipe that cannot be run as it is written
    ├── DataError                a file, a line or an example that cannot be used
    ├── ModelError               a checkpoint that cannot be built, loaded or pruned as asked
    │   └── VocabularyError      teacher and student do not share the tokens they must share
    ├── GenerationError          an engine that cannot write what was asked of it
    ├── ObjectiveError           tensors an objective cannot compare
    ├── TrainingError            a training that went astray
    ├── StoreError               a run folder that is busy, broken, full or made by other settings
    │   └── PoolError            pseudo-targets that are missing or do not belong together
    └── EvaluationError          predictions that cannot be scored

Each class is also the standard exception it refines. All carry one string, so they survive pickling on
the way home from a worker. A message says what was asked, what was found, and what to do.
"""

import difflib
from collections.abc import Iterable


class UnderstudyError(Exception):
    """The root: one sentence a user can act on."""


class ConfigError(UnderstudyError, ValueError):
    """A recipe that cannot be run as it is written."""


class DataError(UnderstudyError, ValueError):
    """A file, a line or an example that cannot be used."""


class ModelError(UnderstudyError, ValueError):
    """A checkpoint that cannot be built, loaded or pruned as asked."""


class VocabularyError(ModelError):
    """Teacher and student do not share the tokens they must share."""


class GenerationError(UnderstudyError, RuntimeError):
    """An engine that cannot write what was asked of it."""


class ObjectiveError(UnderstudyError, ValueError):
    """Tensors an objective cannot compare."""


class TrainingError(UnderstudyError, ArithmeticError):
    """A training that went astray."""


class StoreError(UnderstudyError, OSError):
    """A run folder that is busy, broken, full or made by other settings."""


class PoolError(StoreError):
    """Pseudo-targets that are missing or do not belong together."""


class EvaluationError(UnderstudyError, ValueError):
    """Predictions that cannot be scored."""


def unknown_name(what: str, name: str, known: Iterable[str]) -> ConfigError:
    """The one sentence with which every table of the package answers an unknown name."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"unknown {what} {name!r}; known: {', '.join(names)}{hint}")


def first_line(error: BaseException) -> str:
    """What another library's error says first, for a sentence of ours; its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
