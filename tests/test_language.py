"""The project uses the field's language: no banned words, one meaning per name."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import typer
from pydantic import BaseModel
from typer.main import get_command

import understudy
from understudy.cli.app import app
from understudy.config.recipe import Recipe
from understudy.config.section import Section
from understudy.config.study import Study

ROOT = Path(__file__).parents[1]
PACKAGE = Path(understudy.__file__).parent
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

BANNED = (
    "told",
    "tells",
    "heard",
    "hear",
    "hears",
    "listen",
    "listens",
    "listening",
    "bought",
    "beside",
    "lesson",
    "lecture",
)
"""Words of the first version's private language. Names are split into words at underscores and capitals."""
OF_LIBRARIES = {"listening_address"}
"""Attributes of other libraries' objects (xllamacpp)."""
SPOKEN = re.compile(rf"\b({'|'.join(BANNED)})s?\b", re.IGNORECASE)


def words_of(name: str) -> list[str]:
    """An identifier's words, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Every name that a module defines or uses."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.alias(name=name, asname=asname):
                yield asname or name


def sections(kind: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """A section and all sections below it."""
    if kind not in seen:
        seen.add(kind)
        for field in kind.model_fields.values():
            for inner in _models(field.annotation):
                sections(inner, seen)
    return seen


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models(inner)


SECTIONS = sections(Recipe, set()) | sections(Study, set())


def test_identifiers_use_no_banned_word() -> None:
    """No identifier or file name of the package contains one."""
    found = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path, tree in TREES.items()
        for name in {*identifiers(tree), *path.relative_to(PACKAGE).with_suffix("").parts} - OF_LIBRARIES
        if set(words_of(name)) & set(BANNED)
    }
    assert found == set()


def test_docstrings_comments_and_messages_use_no_banned_word() -> None:
    """Nor does anything else in the package's files: its help and errors are made of these lines."""
    found = {
        f"{path.relative_to(PACKAGE)}:{number}: {line.strip()}"
        for path in PACKAGE.rglob("*")
        if path.suffix in {".py", ".jinja", ".yaml", ".css", ".js"}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if SPOKEN.search(line)
    }
    assert found == set()


def test_docs_use_no_banned_word() -> None:
    """README, CONTRIBUTING and the documents are in plain English, code blocks included."""
    found = {
        f"{path.name}:{number}: {line.strip()}"
        for path in DOCS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if SPOKEN.search(line)
    }
    assert found == set()


def test_recipe_keys_use_no_banned_word() -> None:
    """No key of a recipe or a study contains one."""
    keys = {f"{kind.__name__}.{field.alias or name}" for kind in SECTIONS for name, field in kind.model_fields.items()}
    assert {key for key in keys if set(words_of(key)) & set(BANNED)} == set()


def test_help_uses_no_banned_word() -> None:
    """No command's help does."""
    command = get_command(app)
    texts = {name: own.get_help(typer.Context(own)) for name, own in command.commands.items()}  # type: ignore[attr-defined]
    assert {name for name, text in texts.items() if SPOKEN.search(text)} == set()


def test_a_public_name_is_defined_once() -> None:
    """No two modules define classes, functions or constants of one public name: one name has one meaning.

    Names that mean the same in each module are the exceptions, listed with the reason.
    """
    same_meaning = {
        "CAPABILITIES",  # of an engine, in the engine's module
        "FACTS",  # the file in which a stage keeps the facts of a page
        "LOCAL",  # the default executor
        "QUIET",  # the progress of callers who want none
        "executor",  # what `executor_named` calls, in the module of each executor
        "collect",  # the command and the function that it calls, as the next ones
        "check",
        "compare",
        "diagnose",
        "plan",
        "run",
    }
    places: dict[str, set[str]] = defaultdict(set)
    for path, tree in TREES.items():
        for node in tree.body if isinstance(tree, ast.Module) else ():
            match node:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    places[name].add(str(path.relative_to(PACKAGE)))
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    places[name].add(str(path.relative_to(PACKAGE)))
    twice = {name: where for name, where in places.items() if len(where) > 1 and name[0] != "_" and len(name) > 1}
    assert {name: where for name, where in twice.items() if name not in same_meaning and name != "__all__"} == {}


def test_every_section_is_closed_and_frozen() -> None:
    """Unknown keys are errors, and a recipe cannot change after it was checked."""
    assert {kind for kind in SECTIONS if not issubclass(kind, Section)} == set()
    assert all(kind.model_config["extra"] == "forbid" and kind.model_config["frozen"] for kind in SECTIONS)
