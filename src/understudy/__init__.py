"""Turn an expensive text generator into a small, fast model for one task, and prove it.

The door: the names Python users need, each loaded from its room when it is first asked for, so that
`import understudy` and `understudy --help` bring no torch. Rooms never import the door.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from understudy.config.read import check_recipe, read_recipe
    from understudy.config.recipe import Recipe
    from understudy.config.study import read_study
    from understudy.errors import UnderstudyError
    from understudy.objectives.divergences import cross_entropy, forward_kl
    from understudy.pipeline.inspect.open import OpenedRun, open_run
    from understudy.pipeline.run import Run, run
    from understudy.pool.pool import PseudoTargetPool
    from understudy.study.run_study import run_study

    __version__: str

__all__ = [
    "OpenedRun",
    "PseudoTargetPool",
    "Recipe",
    "Run",
    "UnderstudyError",
    "__version__",
    "check_recipe",
    "cross_entropy",
    "forward_kl",
    "open_run",
    "read_recipe",
    "read_study",
    "run",
    "run_study",
]

_HOMES = {
    "OpenedRun": "understudy.pipeline.inspect.open",
    "PseudoTargetPool": "understudy.pool.pool",
    "Recipe": "understudy.config.recipe",
    "Run": "understudy.pipeline.run",
    "UnderstudyError": "understudy.errors",
    "check_recipe": "understudy.config.read",
    "cross_entropy": "understudy.objectives.divergences",
    "forward_kl": "understudy.objectives.divergences",
    "open_run": "understudy.pipeline.inspect.open",
    "read_recipe": "understudy.config.read",
    "read_study": "understudy.config.study",
    "run": "understudy.pipeline.run",
    "run_study": "understudy.study.run_study",
}
"""Public name -> the module it lives in."""


def __getattr__(name: str) -> object:
    """A public name, loaded when it is first asked for.

    Raises:
        AttributeError: for any other name, as every module does.
    """
    if name == "__version__":
        return version("understudy")
    if name not in _HOMES:
        raise AttributeError(f"module 'understudy' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, for those who explore."""
    return __all__
