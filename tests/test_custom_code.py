import hashlib
import sys
from pathlib import Path

import pytest

from understudy.custom_code import absolute_spec, load_object, reporting, source_digest
from understudy.errors import ConfigError

SOURCE = """
import dataclasses
from pathlib import Path

Path(__file__).with_suffix(".imported").touch()

@dataclasses.dataclass
class Pair:
    one: "int"

def double(number):
    return 2 * number
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A module that leaves a mark when it is imported."""
    path = tmp_path / "own.py"
    path.write_text(SOURCE + f"# {tmp_path}\n")  # each test's own digest, hence its own import
    return path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package whose inner module leaves a mark when it is imported, as does the package itself."""
    name = f"package_{tmp_path.name}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text(SOURCE)
    (folder / "inner.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def call(spec: str) -> object:
    """What the function returns for 21."""
    function = load_object(spec, allowed=True)
    assert callable(function)
    return function(21)


def test_an_object_of_a_file_is_loaded(file: Path) -> None:
    """Also where the file defines a dataclass, which looks its module up."""
    assert call(f"{file}:double") == 42
    assert load_object(f"{file}:Pair", allowed=True) is load_object(f"{file}:Pair", allowed=True)


@pytest.mark.parametrize("module", ["", ".inner"])
def test_an_object_of_a_module_is_loaded(package: str, module: str) -> None:
    """A package itself, or a module in it."""
    assert call(f"{package}{module}:double") == 42


def test_nothing_is_imported_without_permission(file: Path) -> None:
    """The message names the option that allows it."""
    with pytest.raises(ConfigError, match=r"own\.py:double.*--allow-code"):
        load_object(f"{file}:double", allowed=False)

    assert not file.with_suffix(".imported").exists()


def test_a_digest_is_that_of_the_file(file: Path) -> None:
    """Computed without importing; another source has another digest."""
    before = source_digest(f"{file}:double")
    assert before == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not file.with_suffix(".imported").exists()

    file.write_text(SOURCE.replace("2 *", "3 *"))
    assert source_digest(f"{file}:double") != before
    assert call(f"{file}:double") == 63


def test_a_digest_of_a_module_imports_no_package_on_the_way(package: str, tmp_path: Path) -> None:
    """Neither the module nor its parents."""
    inner = tmp_path / package / "inner.py"

    assert source_digest(f"{package}.inner:double") == hashlib.sha256(inner.read_bytes()).hexdigest()
    assert package not in sys.modules
    assert list(tmp_path.rglob("*.imported")) == []


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("double", r"'double' does not name an object.*'package\.module:object'"),
        ("own.py:", "does not name an object"),
        ("gone/own.py:double", r"no file .*gone/own\.py"),
        ("no_such_package.module:double", r"no source of a module 'no_such_package\.module'.*PYTHONPATH"),
        ("understudy.no_such_module:double", r"no source of a module 'understudy\.no_such_module'"),
        ("sys:exit", "no source of a module 'sys'"),
        (".relative:exit", r"no source of a module '\.relative'"),
        ("not a name:exit", "no source of a module 'not a name'"),
        ("understudy.errors:no_such_thing", r"errors\.py defines no 'no_such_thing'; it defines: .*ConfigError"),
    ],
)
def test_what_cannot_be_found_is_one_sentence(spec: str, found: str) -> None:
    """The message gives the spec and the way out."""
    with pytest.raises(ConfigError, match=found):
        load_object(spec, allowed=True)


def test_code_that_raises_is_one_sentence(tmp_path: Path) -> None:
    """The message gives the file and the error; a corrected file can be loaded."""
    path = tmp_path / "broken.py"
    path.write_text("value = 1 / 0")

    with pytest.raises(ConfigError, match=r"importing .*broken\.py .* failed: ZeroDivisionError: division by zero"):
        load_object(f"{path}:value", allowed=True)


def test_a_file_is_found_from_the_folder_of_its_recipe() -> None:
    """Module names have no folder."""
    assert absolute_spec("own.py:double", Path("/recipes")) == "/recipes/own.py:double"
    assert absolute_spec("/own.py:double", Path("/recipes")) == "/own.py:double"
    assert absolute_spec("package.module:double", Path("/recipes")) == "package.module:double"


def test_an_exception_of_custom_code_names_its_line(tmp_path: Path) -> None:
    """The spec, the exception and the line in the user's file, in one sentence."""
    path = tmp_path / "own.py"
    path.write_text("def half(value):\n    return 1 / value\n")
    spec = f"{path}:half"
    function = load_object(spec, allowed=True)
    assert callable(function)
    reported = reporting(spec, function)

    assert reported(2) == 0.5
    with pytest.raises(ConfigError, match=r"own\.py:half' raised ZeroDivisionError: division by zero \(.*own\.py:2\)"):
        reported(0)


def test_code_that_exits_while_it_is_imported_is_reported(tmp_path: Path) -> None:
    """Otherwise the command would end with the exit code of the code, without a word."""
    path = tmp_path / "own.py"
    path.write_text("raise SystemExit(3)\n")

    with pytest.raises(ConfigError, match=r"importing .*own\.py.* failed: SystemExit: 3"):
        load_object(f"{path}:anything", allowed=True)
