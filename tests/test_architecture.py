"""The house as a test: floors, homes of libraries, sizes, names, and who may print.

Each test gathers every offence of the package, so that one run shows them all.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import understudy

PACKAGE = Path(understudy.__file__).parent
TESTS = Path(__file__).parent
SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {path: ast.parse(source) for path, source in SOURCES.items()}

FLOORS = (
    {"errors", "records", "progress"},
    {"custom_code"},
    {"config", "store"},
    {"models", "tasks", "objectives"},
    {"generation"},
    {"pool", "demo"},
    {"evaluation", "api_teacher", "report"},
    {"training"},
    {"pipeline"},
    {"study"},
    {"cli"},
    {"__init__", "__main__"},  # the doors: nobody comes through them from inside
)
HOMES = {
    "ctranslate2": {"generation"},
    "datasets": {"tasks"},
    "jinja2": {"report"},
    "markupsafe": {"report"},
    "matplotlib": {"report"},
    "nltk": {"evaluation"},
    "openai": {"teacher"},
    "numpy": {"evaluation", "pipeline", "pool", "study", "teacher", "training"},
    "psutil": {"evaluation"},
    "pyarrow": {"pool", "tasks"},
    "pydantic": {"config"},
    "pydantic_core": {"config"},
    "rich": {"cli"},
    "rouge_score": {"evaluation"},
    "sacrebleu": {"evaluation", "pool"},
    "safetensors": {"models", "training"},
    "tokenizers": {"models"},
    "torch": {"evaluation", "generation", "models", "objectives", "pipeline", "training"},
    "transformers": {"evaluation", "generation", "models", "pipeline", "training"},
    "typer": {"cli"},
    "yaml": {"cli", "config"},
}
"""Library -> the rooms that import it; every library the package imports stands here."""
KNOW_THE_RECIPE = {"config", "pipeline", "study", "cli", "__init__"}
WHOLE_RECIPE = ("understudy.config.recipe.", "understudy.config.read.")
SPEAKERS = {PACKAGE / "evaluation" / "benchmark_process.py"}
"""Beside the command line: a child process whose standard output is its answer."""
DRAWERS = {"utils", "helpers", "common", "misc"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MOST_LINES = 300
MOST_FUNCTION_LINES = 60
"""Without the docstring, which must be complete; 40 with it is the aim."""


def room_of(path: Path) -> str:
    """The room a module lies in; a module of the ground floor is a room of its own."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor_of(room: str) -> int:
    """How high a room lies."""
    return next(level for level, rooms in enumerate(FLOORS) if room in rooms)


def imported(path: Path) -> Iterator[str]:
    """Every name imported anywhere in the file, also inside functions; `from a import b` counts as a.b."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (f"{alias.name}." for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module}.{alias.name}." for alias in node.names)


def own_imports() -> Iterator[tuple[Path, str]]:
    """Every import of the package from itself."""
    return ((path, name) for path in SOURCES for name in imported(path) if name.startswith("understudy."))


def homes_in_use() -> set[tuple[str, str]]:
    """Pairs of a library and a room that imports it."""
    known = sys.stdlib_module_names | {"understudy"}
    pairs = {(name.split(".")[0], room_of(path)) for path in SOURCES for name in imported(path)}
    return {(library, room) for library, room in pairs if library not in known}


def test_every_room_has_a_floor() -> None:
    """The floors name the rooms there are, each once."""
    assert sorted(room for rooms in FLOORS for room in rooms) == sorted({room_of(path) for path in SOURCES})


def test_imports_point_downstairs() -> None:
    """A module imports its own room or a lower floor: no neighbour, nothing upstairs, never the door."""
    ways = {(room_of(path), name.split(".")[1]) for path, name in own_imports()}
    assert {(here, there) for here, there in ways if here != there and floor_of(there) >= floor_of(here)} == set()


def test_imports_are_absolute() -> None:
    """A module is named from the package on, so that the test above sees it."""
    assert [path for path in SOURCES for name in imported(path) if name.startswith(".")] == []


def test_a_library_stays_at_home() -> None:
    """A library is imported in the rooms that are its home, and in each of them."""
    assert homes_in_use() == {(library, room) for library, rooms in HOMES.items() for room in rooms}


def test_the_recipe_stays_upstairs() -> None:
    """Only pipeline, study and command line know the recipe as a whole; rooms below take plain values."""
    knowing = {room_of(path) for path, name in own_imports() if name.startswith(WHOLE_RECIPE)}
    assert knowing <= KNOW_THE_RECIPE


def test_files_are_small() -> None:
    """At most 300 lines, tests included."""
    tests = {path: path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py")}
    lengths = {path: len(source.splitlines()) for path, source in (SOURCES | tests).items()}
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_file_is_a_drawer() -> None:
    """No file or folder has a name that could hold anything."""
    names = {part.removesuffix(".py") for path in SOURCES for part in path.relative_to(PACKAGE).parts}
    assert names & DRAWERS == set()


def test_functions_are_read_at_a_glance() -> None:
    """No function has more than 60 lines besides its docstring."""
    lengths = {
        f"{path.name}: {node.name}": len(range(node.lineno, (node.end_lineno or 0) + 1)) - lines_of_docstring(node)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > MOST_FUNCTION_LINES} == {}


def lines_of_docstring(node: ast.FunctionDef) -> int:
    """How many lines a function's docstring takes."""
    first = node.body[0]
    return (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(node) else 0


def test_only_the_command_line_speaks() -> None:
    """Nothing else prints or touches the standard streams."""
    silent = {path: tree for path, tree in TREES.items() if room_of(path) != "cli" and path not in SPEAKERS}
    spoken = {
        (path, ast.unparse(node))
        for path, tree in silent.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    }
    assert {(path, words) for path, words in spoken if words in {"print", "sys.stdout", "sys.stderr"}} == set()


def test_nothing_is_left_for_later() -> None:
    """No marker of unfinished work."""
    assert [path for path, source in SOURCES.items() if UNFINISHED.search(source)] == []


def test_every_module_says_what_lives_there() -> None:
    """Each file opens with at least a few words on what it holds."""
    heads = {path: ast.get_docstring(tree) or "" for path, tree in TREES.items()}
    assert [path for path, head in heads.items() if len(head.split()) < 3] == []
