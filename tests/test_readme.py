"""What the documents state is true: recipes that are read, commands that exist, the source tree as it is."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

import understudy
from understudy.cli.app import app
from understudy.config.presets import PRESETS
from understudy.config.read import check_recipe, merge
from understudy.config.yaml_values import load_yaml

ROOT = Path(__file__).parent.parent
PACKAGE = Path(understudy.__file__).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
METHODS = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
PROMPTS = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
LANGUAGE_MODELS = (ROOT / "docs" / "language-models.md").read_text(encoding="utf-8")
GEMMA = ROOT / "recipes" / "gemma-e2e.yaml"


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language in a Markdown text."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def printed_tree() -> dict[str, str]:
    """Path inside the package -> its clause, as docs/architecture.md prints them."""
    (block,) = (block for block in blocks(ARCHITECTURE, "text") if block.startswith("src/understudy\n"))
    clauses: dict[str, str] = {}
    folders: list[str] = []
    for line in block.splitlines()[1:]:
        name, _, clause = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip())) // 2
        del folders[depth - 1 :]
        clauses["".join(folders) + name] = clause.strip()
        if name.endswith("/"):
            folders.append(name)
    return clauses


def real_tree() -> set[str]:
    """Folders and files of the package; the line of a folder is that of its `__init__.py`."""
    paths = [path for path in PACKAGE.rglob("*") if "__pycache__" not in path.parts and path.name != "__init__.py"]
    return {f"{path.relative_to(PACKAGE)}{'/' if path.is_dir() else ''}" for path in paths}


def commands(group: typer.core.TyperGroup, before: str = "") -> set[str]:
    """Every command of the command line, with the words before it."""
    found: set[str] = set()
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            found |= commands(command, f"{before}{name} ")
        elif not command.hidden:
            found.add(before + name)
    return found


def test_the_printed_tree_is_the_source_tree() -> None:
    """Every file of the package is listed, and nothing else is."""
    assert set(printed_tree()) == real_tree()


def test_every_file_has_a_clause() -> None:
    """Each line of the tree describes the file."""
    assert [path for path, clause in printed_tree().items() if not clause] == []


def plain(block: str) -> dict[str, Any]:
    """The settings in a block, read as a recipe's file is."""
    settings = load_yaml(block, "block")
    assert isinstance(settings, dict)
    return settings


@pytest.mark.parametrize("block", blocks(README, "yaml"))
def test_a_recipe_of_the_readme_is_read(block: str) -> None:
    """What users copy is a whole recipe without a mistake."""
    assert check_recipe({"name": "readme", **plain(block)}).name == "readme"


@pytest.mark.parametrize("block", blocks(METHODS, "yaml"))
def test_a_variation_of_the_methods_page_is_read(block: str) -> None:
    """Each block of the page can be put into the README's recipe, and changes it."""
    whole = {"name": "methods", **plain(blocks(README, "yaml")[0])}
    assert check_recipe(merge(whole, plain(block))) != check_recipe(whole)


def test_the_recipe_of_the_language_models_page_is_a_file() -> None:
    """The first block of the page is the settings of the recipe that its text names."""
    recipe = GEMMA.read_text(encoding="utf-8")
    assert plain(blocks(LANGUAGE_MODELS, "yaml")[0]) == plain(recipe)


@pytest.mark.parametrize("block", [*blocks(LANGUAGE_MODELS, "yaml")[1:], *blocks(PROMPTS, "yaml")])
def test_a_variation_of_the_language_models_page_is_read(block: str) -> None:
    """Each other block can be put into that recipe, and changes it; a `model` replaces the pruned student."""
    whole, changes = plain(GEMMA.read_text(encoding="utf-8")), plain(block)
    kept = {name: own for name, own in whole.items() if name != "student" or "model" not in changes.get("student", ())}
    assert check_recipe(merge(kept, changes)) != check_recipe(whole)


def test_the_documents_show_recipes() -> None:
    """The tests above have something to read."""
    assert len(blocks(README, "yaml")) == 1
    assert len(blocks(METHODS, "yaml")) > 2
    assert len(blocks(LANGUAGE_MODELS, "yaml")) > 5
    assert len(blocks(PROMPTS, "yaml")) == 1


def test_every_method_has_a_section() -> None:
    """The methods page explains the presets there are, and no other."""
    assert re.findall(r"^## `(\w+)`", METHODS, re.MULTILINE) == list(PRESETS)


def test_every_command_is_shown() -> None:
    """The README shows the commands there are, and no other."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    shown = re.findall(r"^    understudy ((?:pool |store |records )?\w+)", README, re.MULTILINE)
    assert set(shown) == commands(group)


def test_every_make_target_is_there() -> None:
    """What the documents tell to make can be made."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^    make (\w+)", README + contributing, re.MULTILINE)) <= set(targets)


def test_the_readme_is_short() -> None:
    """At most 120 lines: the rest is in docs/."""
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_links_lead_somewhere(path: Path) -> None:
    """Each relative link of a document is a file of the repository."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []
