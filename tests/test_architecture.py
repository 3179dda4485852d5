"""The architecture as a test: layers, homes of libraries, sizes, names, and which module may print.

Each test collects every violation of the package, so that one run shows them all.
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

LAYERS = (
    {"errors", "records", "progress", "characters"},
    {"columns", "custom_code", "ranks"},
    {"config", "store"},
    {"models", "tasks", "objectives", "executors"},
    {"generation"},
    {"pool", "demo"},
    {"evaluation", "api_teacher", "report"},
    {"training", "serving"},
    {"pipeline"},
    {"study"},
    {"cli"},
    {"__init__", "__main__"},  # the public names: no module of the package imports them
)
"""Lowest first; docs/architecture.md describes them."""
HOMES = {
    "ctranslate2": {"generation"},
    "datasets": {"tasks"},
    "fastapi": {"serving"},
    "filelock": {"store"},
    "gguf": {"serving"},
    "httpx2": {"serving"},
    "jinja2": {"report"},
    "markupsafe": {"report"},
    "matplotlib": {"report"},
    "mlflow": {"pipeline"},
    "nltk": {"evaluation"},
    "openai": {"api_teacher"},
    "numpy": {"api_teacher", "columns", "evaluation", "models", "pipeline", "pool", "study", "tasks", "training"},
    "peft": {"models"},
    "prometheus_client": {"serving"},
    "packaging": {"pipeline"},
    "psutil": {"evaluation", "pipeline", "serving"},
    "pyarrow": {"columns", "pool", "tasks"},
    "pydantic": {"config", "serving", "store"},
    "pydantic_core": {"config"},
    "ray": {"executors"},
    "regex": {"evaluation"},
    "rich": {"cli"},
    "rouge_score": {"evaluation"},
    "sacrebleu": {"evaluation", "pool"},
    "safetensors": {"training"},
    "tokenizers": {"models"},
    "starlette": {"serving"},
    "torch": {"evaluation", "generation", "models", "objectives", "pipeline", "serving", "training"},
    "trackio": {"pipeline"},
    "transformers": {"evaluation", "generation", "models", "pipeline", "serving", "training"},
    "typer": {"cli"},
    "uvicorn": {"serving"},
    "vllm": {"generation"},
    "wandb": {"pipeline"},
    "xllamacpp": {"serving"},
    "yaml": {"cli", "config", "serving"},
}
"""Library -> the packages that import it; every library the package imports is listed."""
USE_THE_RECIPE = {"config", "pipeline", "study", "cli", "__init__"}
WHOLE_RECIPE = ("understudy.config.recipe.", "understudy.config.read.")
PRINTING = {PACKAGE / "evaluation" / "benchmark_process.py"}
"""Besides the command line: a child process whose standard output is its result."""
VAGUE_NAMES = {"utils", "helpers", "common", "misc"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MOST_LINES = 300
MOST_FUNCTION_LINES = 40
"""Without the docstring, which must be complete, and the signature."""


def package_of(path: Path) -> str:
    """The package that a module belongs to; a module at the top is a package of its own."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer_of(package: str) -> int:
    """The index of a package's layer."""
    return next(level for level, packages in enumerate(LAYERS) if package in packages)


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


def libraries_in_use() -> set[tuple[str, str]]:
    """Pairs of a library and a package that imports it."""
    known = sys.stdlib_module_names | {"understudy"}
    pairs = {(name.split(".")[0], package_of(path)) for path in SOURCES for name in imported(path)}
    return {(library, package) for library, package in pairs if library not in known}


def test_every_package_has_a_layer() -> None:
    """The layers name the packages there are, each once."""
    assert sorted(package for packages in LAYERS for package in packages) == sorted(
        {package_of(path) for path in SOURCES}
    )


def test_imports_point_down() -> None:
    """A module imports its own package or strictly lower layers."""
    edges = {(package_of(path), name.split(".")[1]) for path, name in own_imports()}
    assert {(here, there) for here, there in edges if here != there and layer_of(there) >= layer_of(here)} == set()


def test_imports_are_absolute() -> None:
    """A module is named from the package on, so that the test above sees it."""
    assert [path for path in SOURCES for name in imported(path) if name.startswith(".")] == []


def test_a_library_is_imported_only_in_its_homes() -> None:
    """A library is imported in the packages that are its homes, and in each of them."""
    assert libraries_in_use() == {(library, package) for library, packages in HOMES.items() for package in packages}


def test_lower_packages_take_plain_arguments() -> None:
    """Only pipeline, study and command line use the recipe as a whole; packages below take plain values."""
    using = {package_of(path) for path, name in own_imports() if name.startswith(WHOLE_RECIPE)}
    assert using <= USE_THE_RECIPE


def test_files_are_small() -> None:
    """At most 300 lines, those of tests, benchmarks and scripts included."""
    folders = (TESTS, TESTS.parent / "benchmarks", TESTS.parent / "scripts")
    others = {path: path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py")}
    lengths = {path: len(source.splitlines()) for path, source in (SOURCES | others).items()}
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_file_has_a_name_for_anything() -> None:
    """No file or folder has a name that could hold anything."""
    names = {part.removesuffix(".py") for path in SOURCES for part in path.relative_to(PACKAGE).parts}
    assert names & VAGUE_NAMES == set()


def test_functions_are_short() -> None:
    """No function has more than 40 lines besides its signature and docstring."""
    lengths = {
        f"{path.name}: {node.name}": lines_of_body(node)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > MOST_FUNCTION_LINES} == {}


def lines_of_body(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function after its docstring."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_imports_have_no_cycle() -> None:
    """Modules import each other in one direction only, also within a package."""
    modules = {".".join(("understudy", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in SOURCES}
    edges = {
        name: {found for found in (module_of(target, modules) for target in imported(path)) if found and found != name}
        for name, path in modules.items()
        if not name.endswith("__init__")
    }
    while leaves := {name for name, targets in edges.items() if not targets & edges.keys()}:
        edges = {name: targets for name, targets in edges.items() if name not in leaves}
    assert edges == {}


def module_of(target: str, modules: dict[str, Path]) -> str | None:
    """The module of the package that an imported name lies in."""
    parts = target.rstrip(".").split(".")
    return next((name for end in (len(parts), len(parts) - 1) if (name := ".".join(parts[:end])) in modules), None)


def test_the_pipeline_needs_few_casts() -> None:
    """Facts are typed records, so what stages read of each other needs no cast."""
    casts = [
        node
        for path, tree in TREES.items()
        if package_of(path) == "pipeline"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "cast"
    ]
    assert len(casts) < 10


def test_only_one_module_distinguishes_teachers() -> None:
    """`isinstance(..., EndpointTeacher)` decides in pipeline/teacher_outputs.py alone, and in the checks of config."""
    asking = {
        str(path.relative_to(PACKAGE))
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "isinstance"
        and "EndpointTeacher" in ast.unparse(node.args[1])
    }
    assert {path for path in asking if not path.startswith("config/")} == {"pipeline/teacher_outputs.py"}


def test_only_the_command_line_prints() -> None:
    """Nothing else prints or touches the standard streams."""
    others = {path: tree for path, tree in TREES.items() if package_of(path) != "cli" and path not in PRINTING}
    names = {
        (path, ast.unparse(node))
        for path, tree in others.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    }
    assert {(path, words) for path, words in names if words in {"print", "sys.stdout", "sys.stderr"}} == set()


def test_nothing_is_left_for_later() -> None:
    """No marker of unfinished work."""
    assert [path for path, source in SOURCES.items() if UNFINISHED.search(source)] == []


def test_every_module_has_a_docstring() -> None:
    """Each file begins with at least a few words on what it contains."""
    heads = {path: ast.get_docstring(tree) or "" for path, tree in TREES.items()}
    assert [path for path, head in heads.items() if len(head.split()) < 3] == []
