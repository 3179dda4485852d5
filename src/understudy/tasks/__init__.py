"""The data of a task: examples from the user's files or the hub, and checks on them.

This package does not depend on models or tokenizers.
"""

from understudy.tasks.files import LoadedTask, load_files, read_examples
from understudy.tasks.guards import Leak, describe, drop_leaks, find_leaks, refuse_leaks
from understudy.tasks.hub import load_hub
from understudy.tasks.kd4gen import load_kd4gen

__all__ = [
    "Leak",
    "LoadedTask",
    "describe",
    "drop_leaks",
    "find_leaks",
    "load_files",
    "load_hub",
    "load_kd4gen",
    "read_examples",
    "refuse_leaks",
]
