"""What is installed: Python, the required packages and the extras, compared with what the project declares.

It loads none of them, so that it can say what an incomplete installation lacks. What the machine has is `machine`.
"""

import platform
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

CHECKOUT = Path(__file__).parents[3]
"""The project's folder, if the package is used from there."""
PROJECT_FILE = "pyproject.toml"
CONSTRAINTS = "constraints.txt"
UNPINNED = {"vllm"}
"""Extras that constraints.txt does not allow: vLLM requires exact versions of torch and others of its own."""
CORE = ""
"""Stands for what every run needs, where others are the names of extras."""


@dataclass(frozen=True)
class InstalledPackage:
    """A package, or Python, against its bound."""

    name: str
    required: str
    """The versions that are allowed, such as `>=2.6`; empty: all."""
    installed: str | None
    tested: str | None
    """The version in constraints.txt; None outside a checkout."""
    fits: bool


@dataclass(frozen=True)
class Extra:
    """An optional part of the project."""

    name: str
    missing: tuple[str, ...]
    """Requirements that are not met; empty: the extra is installed."""
    install: str
    """The command that installs it."""


@dataclass(frozen=True)
class Installation:
    """Everything that is declared, with what is there."""

    understudy: str
    python: InstalledPackage
    packages: tuple[InstalledPackage, ...]
    extras: tuple[Extra, ...]
    folder: str | None
    """Where the commands must run: the checkout; None: anywhere."""
    problem: str | None
    """Why no run is possible, in a sentence; None: one is."""


def installation(checkout: Path = CHECKOUT) -> Installation:
    """What this Python has of what the project declares."""
    bound, declared = _declared(checkout)
    tested = _tested(checkout)
    python = _compared("Python", bound, platform.python_version(), None)
    packages = tuple(_package(text, tested) for text in declared[CORE])
    extras = tuple(
        Extra(name, _missing(needed), install_command(name, checkout)) for name, needed in declared.items() if name
    )
    return Installation(
        understudy=version("understudy"),
        python=python,
        packages=packages,
        extras=extras,
        folder=str(checkout) if _is_checkout(checkout) else None,
        problem=_problem([python, *packages], checkout),
    )


def install_command(extra: str = CORE, checkout: Path = CHECKOUT) -> str:
    """How the project, with an extra, is installed."""
    name = f"[{extra}]" if extra else ""
    if _is_checkout(checkout):
        return f"pip install {'' if extra in UNPINNED else f'-c {CONSTRAINTS} '}-e '.{name}'"
    return f"pip install 'understudy{name}'"


def _is_checkout(folder: Path) -> bool:
    return (folder / PROJECT_FILE).is_file()


def _declared(checkout: Path) -> tuple[str, Mapping[str, Sequence[str]]]:
    """The bound of Python, and the requirements of the core and of each extra.

    In a checkout from its project file: the metadata is as old as the last installation.
    """
    if _is_checkout(checkout):
        project = tomllib.loads((checkout / PROJECT_FILE).read_text(encoding="utf-8"))["project"]
        return project["requires-python"], {CORE: project["dependencies"], **project["optional-dependencies"]}
    own = metadata("understudy")
    declared: dict[str, list[str]] = {CORE: [], **{name: [] for name in own.get_all("Provides-Extra") or ()}}
    for line in own.get_all("Requires-Dist") or ():
        one = Requirement(line)
        for name in declared if one.marker else (CORE,):
            if one.marker is None or (name and one.marker.evaluate({"extra": name})):
                declared[name].append(f"{one.name}{one.specifier}")
    return own["Requires-Python"], declared


def _tested(checkout: Path) -> Mapping[str, str]:
    """Package -> its version in constraints.txt."""
    file = checkout / CONSTRAINTS
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return dict(line.split("==", 1) for line in lines if "==" in line)


def _package(requirement: str, tested: Mapping[str, str]) -> InstalledPackage:
    one = Requirement(requirement)
    return _compared(one.name, str(one.specifier), _version(one.name), tested.get(one.name))


def _compared(name: str, required: str, installed: str | None, tested: str | None) -> InstalledPackage:
    fits = installed is not None and SpecifierSet(required).contains(installed, prereleases=True)
    return InstalledPackage(name, required, installed, tested, fits)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _missing(requirements: Sequence[str]) -> tuple[str, ...]:
    return tuple(text for text in requirements if not _package(text, {}).fits)


def _problem(packages: Sequence[InstalledPackage], checkout: Path) -> str | None:
    wrong = [one for one in packages if not one.fits]
    if not wrong:
        return None
    found = ", ".join(f"{one.name}{one.required} (found: {one.installed or 'none'})" for one in wrong)
    where = f" in {checkout}" if _is_checkout(checkout) else ""
    return f"no run is possible without {found}; run {install_command(checkout=checkout)}{where}"
