"""What is installed: versions that agree, data files that travel along, dependencies that are used."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

import understudy
from understudy.config.read import read_recipe

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DATA = (
    "py.typed",
    "demo/demo.yaml",
    "report/diagnostics.html.jinja",
    "report/macros.html.jinja",
    "report/table_page.html.jinja",
    "report/page.html.jinja",
    "report/confidence_section.html.jinja",
    "report/content_section.html.jinja",
    "report/page.css",
    "report/page.js",
)
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line
)


def plain(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[; ]", name)[0]).lower()


def imported_distributions() -> set[str]:
    """The distributions whose modules the package imports."""
    homes = packages_distributions()
    sources = (path.read_text(encoding="utf-8") for path in Path(understudy.__file__).parent.rglob("*.py"))
    names = {name for text in sources for name in re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE)}
    return {plain(home) for name in names for home in homes.get(name, ())}


def test_the_version_is_the_changelogs_newest() -> None:
    """One number: in the metadata, in the project file and on top of the changelog."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECT["version"] == understudy.__version__


@pytest.mark.parametrize("name", DATA)
def test_a_data_file_travels_with_the_package(name: str) -> None:
    """Templates, style, script, the demo's recipe and the typing marker lie inside the package."""
    assert files("understudy").joinpath(name).is_file()


def test_every_data_file_is_named_here() -> None:
    """A new data file is added to the list above, so that its absence would be noticed."""
    package = Path(understudy.__file__).parent
    found = {str(path.relative_to(package)) for path in package.rglob("*") if path.suffix not in {".py", ".pyc"}}
    assert {name for name in found if "." in Path(name).name} == set(DATA)


def test_the_wheel_runs_outside_the_clone(tmp_path: Path) -> None:
    """Unpacked into an empty folder, with the libraries of this environment, it has its recipe and its version."""
    wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT]
    subprocess.run([*map(str, wheel)], check=True, capture_output=True)
    (built,) = tmp_path.glob("understudy-*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = "import understudy, understudy.cli as cli; print(understudy.__file__); cli.main()"
    command = [sys.executable, "-c", code, "show"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=environment)
    place, recipe = done.stdout.split("\n", 1)

    assert Path(place).is_relative_to(tmp_path / "site")
    assert yaml.safe_load(recipe)["name"] == "demo"


def test_the_demo_is_a_recipe() -> None:
    """The shipped recipe is read without complaint."""
    assert read_recipe(Path(str(files("understudy").joinpath("demo/demo.yaml")))).name == "demo"


def test_every_dependency_is_imported() -> None:
    """What users must install is what the code imports."""
    assert {plain(name) for name in PROJECT["dependencies"]} <= imported_distributions()


def test_every_dependency_is_pinned_for_reproduction() -> None:
    """The constraints name an exact version of each dependency, for use and for development."""
    asked = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    assert {plain(name) for name in asked} <= {plain(name) for name in PINS}
    assert PINS["torch"] == "2.13.0"
