"""What is installed, compared with what the project declares."""

import tomllib
from importlib.metadata import metadata, version
from pathlib import Path

import pytest

from understudy.pipeline.installation import install_command, installation

ROOT = Path(__file__).parents[2]
PROJECT = """
[project]
requires-python = ">=3.11"
dependencies = [{core}]

[project.optional-dependencies]
there = ["numpy>=1.26", "psutil"]
gone = ["numpy>=1.26", "no-such-package>=3"]
old = ["numpy>=999"]
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with a project file and constraints."""
    (tmp_path / "pyproject.toml").write_text(PROJECT.format(core='"numpy>=1.26"'))
    (tmp_path / "constraints.txt").write_text("# tested\nnumpy==1.2.3\n")
    return tmp_path


def test_every_requirement_of_the_project_is_compared() -> None:
    """Names, bounds and versions are those of the project file and of the installed packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = installation()

    assert [one.name + one.required for one in found.packages] == project["dependencies"]
    assert {one.name: one.installed for one in found.packages} == {
        one.name: version(one.name) for one in found.packages
    }
    assert [extra.name for extra in found.extras] == list(project["optional-dependencies"])
    assert all(one.fits for one in found.packages)
    assert found.problem is None
    assert found.folder == str(ROOT)


def test_an_extra_names_what_it_lacks_and_the_command(checkout: Path) -> None:
    """A package that is missing and one that is too old; the command is the README's."""
    extras = {extra.name: extra for extra in installation(checkout).extras}

    assert {name: extra.missing for name, extra in extras.items()} == {
        "there": (),
        "gone": ("no-such-package>=3",),
        "old": ("numpy>=999",),
    }
    assert extras["gone"].install == "pip install -c constraints.txt -e '.[gone]'"
    assert install_command("vllm", checkout) == "pip install -e '.[vllm]'"  # it pins other versions


def test_the_tested_version_is_that_of_the_constraints(checkout: Path) -> None:
    """Next to the installed one, which may differ."""
    (numpy,) = installation(checkout).packages

    assert (numpy.tested, numpy.installed, numpy.fits) == ("1.2.3", version("numpy"), True)


@pytest.mark.parametrize(
    ("core", "facts"),
    [
        ("no-such-package>=3", ("no-such-package>=3", "none")),
        ("numpy>=999", ("numpy>=999", version("numpy"))),
    ],
)
def test_a_missing_core_package_is_a_problem(checkout: Path, core: str, facts: tuple[str, ...]) -> None:
    """The sentence has the package, its bound, what was found, the command and its folder."""
    (checkout / "pyproject.toml").write_text(PROJECT.format(core=f'"psutil", "{core}"'))
    problem = installation(checkout).problem

    assert problem is not None
    assert all(fact in problem for fact in (*facts, "pip install -c constraints.txt -e '.'", str(checkout)))
    assert "psutil" not in problem


def test_an_installed_wheel_reads_its_metadata(tmp_path: Path) -> None:
    """Outside a checkout there is no project file: bounds come with the package, and the command names it."""
    found = installation(tmp_path)

    assert "torch>=2.6" in {one.name + one.required for one in found.packages}
    assert found.folder is None
    assert [extra.name for extra in found.extras] == metadata("understudy").get_all("Provides-Extra")
    assert found.extras[0].install == f"pip install 'understudy[{found.extras[0].name}]'"
    assert {one.name for one in found.packages} & {"peft", "mypy"} == set()
