"""Loads an object that a recipe names by its place in the user's own code: a metric, an objective or a checker.

A spec is 'package.module:object' (importable by Python) or 'path/to/file.py:object'. Such code runs with the user's
rights, so it is imported only where the caller allows it (`--allow-code`). `source_digest` identifies the code without
importing it; it covers the named file alone, not what that file imports.
"""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import ParamSpec, TypeVar

from understudy.errors import ConfigError, UnderstudyError, first_line

P = ParamSpec("P")
R = TypeVar("R")

FORMS = "'package.module:object' or 'path/to/file.py:object'"


def is_custom(name: str) -> bool:
    """Whether a name is a spec of custom code rather than a key of a table."""
    return ":" in name


def load_object(spec: str, *, allowed: bool) -> object:
    """The object that a spec names.

    Args:
        spec: 'package.module:object' or 'path/to/file.py:object'.
        allowed: whether the user has allowed custom code; without it nothing is imported.

    Raises:
        ConfigError: if code is not allowed, the spec has another form, there is no such module, file or object, or
            the code raises while it is imported.
    """
    place, name = _parts(spec)
    if not allowed:
        raise ConfigError(
            f"{spec!r} names code to import, and a recipe's code is imported only with --allow-code; read the code, "
            "then give --allow-code (in Python: allow_code=True)"
        )
    path = _source_file(spec)
    try:
        module = _import_file(path) if place.endswith(".py") else importlib.import_module(place)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise ConfigError(
            f"importing {path} for {spec!r} failed: {type(error).__name__}: {first_line(error)}; correct the code"
        ) from error
    if not hasattr(module, name):
        defined = ", ".join(sorted(own for own in vars(module) if not own.startswith("_")))
        raise ConfigError(f"{spec!r}: {path} defines no {name!r}; it defines: {defined or 'nothing'}")
    return getattr(module, name)


def reporting(spec: str, function: Callable[P, R]) -> Callable[P, R]:
    """The function of custom code, whose exceptions become a ConfigError with the spec and the line that raised."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except UnderstudyError:
            raise
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            frames = traceback.extract_tb(error.__traceback__)
            source = _source_file(spec).resolve()
            own = [frame for frame in frames if Path(frame.filename).resolve() == source] or frames
            raise ConfigError(
                f"{spec!r} raised {type(error).__name__}: {first_line(error)} ({own[-1].filename}:{own[-1].lineno}); "
                "correct the code"
            ) from error

    return called


def source_digest(spec: str) -> str:
    """The SHA-256 of the source file that a spec names, in hexadecimal; imports nothing.

    Raises:
        ConfigError: if the spec has another form, or there is no such module or file.
    """
    return hashlib.sha256(_source_file(spec).read_bytes()).hexdigest()


def absolute_spec(spec: str, folder: Path) -> str:
    """The spec with the path of its file made absolute, where it names a file; relative paths start at `folder`."""
    place, _, name = spec.rpartition(":")
    return f"{(folder / place).resolve()}:{name}" if place.endswith(".py") else spec


def _parts(spec: str) -> tuple[str, str]:
    place, _, name = spec.rpartition(":")
    if not place or not name.isidentifier():
        raise ConfigError(f"{spec!r} does not name an object in a module or a file; write {FORMS}")
    return place, name


def _source_file(spec: str) -> Path:
    """The file that holds the source, found without importing a package on the way."""
    place, _ = _parts(spec)
    if place.endswith(".py"):
        path = Path(place)
        if not path.is_file():
            raise ConfigError(f"{spec!r}: there is no file {path.absolute()}; correct the path")
        return path
    top, *rest = place.split(".")
    # Only the first part is left to importlib: its find_spec imports the parents of a dotted name.
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # no name of a module, or one that was never imported from a file
        found = None
    if found and not rest and found.origin and found.origin.endswith(".py"):
        return Path(found.origin)
    for folder in (found.submodule_search_locations or ()) if found and rest else ():
        inside = Path(folder, *rest)
        for candidate in (inside.with_name(f"{inside.name}.py"), inside / "__init__.py"):
            if candidate.is_file():
                return candidate
    raise ConfigError(
        f"{spec!r}: Python finds no source of a module {place!r}; install its package, add its folder to PYTHONPATH, "
        "or write 'path/to/file.py:object'"
    )


def _import_file(path: Path) -> ModuleType:
    """The module of a file. One file is imported once; a changed file is another module."""
    name = f"understudy_custom_code_{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:  # a path that ends in .py always has a loader
        raise ConfigError(f"Python cannot import {path}; give a file that ends in .py")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # before it runs: dataclasses look their module up there
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
