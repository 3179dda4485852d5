"""Turn an expensive text generator into a small, fast model for one task, and prove it.

The public names, each loaded from its module on first use, so that `import understudy` and `understudy --help` load no
torch. No module of the package imports this one. `docs/python.md` shows how the names are used.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from understudy.api_teacher.collect import CollectResult, collect
    from understudy.cli.progress_bars import rich_progress
    from understudy.config.read import check_recipe, read_endpoint, read_recipe
    from understudy.config.recipe import Recipe
    from understudy.config.study import Study, check_study, read_study
    from understudy.errors import UnderstudyError
    from understudy.evaluation.metrics import METRICS, Metric, SystemOutputs
    from understudy.executors import executor_named
    from understudy.objectives import OBJECTIVES
    from understudy.objectives.divergences import (
        argmax_cross_entropy,
        cross_entropy,
        forward_kl,
        jsd,
        reverse_kl,
        skew_kl,
        skew_reverse_kl,
        taid,
        tvd,
    )
    from understudy.objectives.relations import relation_kl
    from understudy.pipeline.inspect.compare import score_split
    from understudy.pipeline.inspect.comparison import RunComparison, compare
    from understudy.pipeline.inspect.diagnose import diagnose
    from understudy.pipeline.inspect.open import OpenedRun, open_run
    from understudy.pipeline.run import Run, run
    from understudy.pool.pool import PseudoTargetPool
    from understudy.records import Example
    from understudy.study.run_study import Choice, StudyResult, run_study
    from understudy.tasks.in_memory import save_examples

    __version__: str

_MODULES = {
    "METRICS": "evaluation.metrics",
    "OBJECTIVES": "objectives",
    "Choice": "study.run_study",
    "CollectResult": "api_teacher.collect",
    "Example": "records",
    "Metric": "evaluation.metrics",
    "OpenedRun": "pipeline.inspect.open",
    "PseudoTargetPool": "pool.pool",
    "Recipe": "config.recipe",
    "Run": "pipeline.run",
    "RunComparison": "pipeline.inspect.comparison",
    "Study": "config.study",
    "StudyResult": "study.run_study",
    "SystemOutputs": "evaluation.metrics",
    "UnderstudyError": "errors",
    "argmax_cross_entropy": "objectives.divergences",
    "check_recipe": "config.read",
    "check_study": "config.study",
    "collect": "api_teacher.collect",
    "compare": "pipeline.inspect.comparison",
    "cross_entropy": "objectives.divergences",
    "diagnose": "pipeline.inspect.diagnose",
    "executor_named": "executors",
    "forward_kl": "objectives.divergences",
    "jsd": "objectives.divergences",
    "open_run": "pipeline.inspect.open",
    "read_endpoint": "config.read",
    "read_recipe": "config.read",
    "read_study": "config.study",
    "relation_kl": "objectives.relations",
    "reverse_kl": "objectives.divergences",
    "rich_progress": "cli.progress_bars",
    "run": "pipeline.run",
    "run_study": "study.run_study",
    "save_examples": "tasks.in_memory",
    "score_split": "pipeline.inspect.compare",
    "skew_kl": "objectives.divergences",
    "skew_reverse_kl": "objectives.divergences",
    "taid": "objectives.divergences",
    "tvd": "objectives.divergences",
}
"""Public name -> the module it is defined in."""

__all__ = [
    "METRICS",
    "OBJECTIVES",
    "Choice",
    "CollectResult",
    "Example",
    "Metric",
    "OpenedRun",
    "PseudoTargetPool",
    "Recipe",
    "Run",
    "RunComparison",
    "Study",
    "StudyResult",
    "SystemOutputs",
    "UnderstudyError",
    "__version__",
    "argmax_cross_entropy",
    "check_recipe",
    "check_study",
    "collect",
    "compare",
    "cross_entropy",
    "diagnose",
    "executor_named",
    "forward_kl",
    "jsd",
    "open_run",
    "read_endpoint",
    "read_recipe",
    "read_study",
    "relation_kl",
    "reverse_kl",
    "rich_progress",
    "run",
    "run_study",
    "save_examples",
    "score_split",
    "skew_kl",
    "skew_reverse_kl",
    "taid",
    "tvd",
]


def __getattr__(name: str) -> object:
    """A public name, loaded on first use.

    Raises:
        AttributeError: for any other name, as every module does.
    """
    if name == "__version__":
        return version("understudy")
    if name not in _MODULES:
        raise AttributeError(f"module 'understudy' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(import_module(f"understudy.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
