"""Where stages run: `local` in this process, `processes` in several on this machine, `ray` on a cluster.

Executors do not depend on models.

Each module of this package is an executor by its name, and has a function `executor(workers)`: a new one is one file.
"""

import pkgutil
from importlib import import_module

from understudy.errors import unknown_name
from understudy.store.store import Executor


def executor_names() -> list[str]:
    """The executors there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def executor_named(name: str, workers: int = 1) -> Executor:
    """An executor by its name.

    Args:
        name: `local`, `processes` or `ray`.
        workers: how many stages run side by side, where the executor can do that; with `ray` on each machine.

    Raises:
        ConfigError: for an unknown name; for `ray`, if it is not installed or no cluster answers.
    """
    if name not in executor_names():
        raise unknown_name("executor", name, executor_names())
    made: Executor = import_module(f"{__name__}.{name}").executor(workers)
    return made
