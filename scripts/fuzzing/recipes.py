"""Recipes: the shipped ones with valid changes, and with one fault in the plain data or in the text."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from scripts.fuzzing.oracle import VALID, Case, Domain

from understudy.config.read import read_recipe
from understudy.config.yaml_values import dump_yaml, load_yaml

ROOT = Path(__file__).parent.parent.parent
SHIPPED = [ROOT / "src" / "understudy" / "demo" / "demo.yaml", *sorted((ROOT / "recipes").rglob("*.yaml"))]
KEYS = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=3, max_size=12).map(lambda word: f"zz_{word}")
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
Draw = Callable[[st.SearchStrategy[Any]], Any]
Plain = dict[str, Any]


def plain_recipes() -> list[Plain]:
    """The shipped recipes as plain data; studies are left out."""
    loaded = [load_yaml(path.read_text(encoding="utf-8"), str(path)) for path in SHIPPED]
    return [
        plain
        for plain in loaded
        if isinstance(plain, dict) and "methods" not in plain and {"task", "teacher", "student"} <= plain.keys()
    ]


def sections(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all mappings in plain data, the whole included."""
    if isinstance(value, dict):
        yield path
        for key, inner in value.items():
            yield from sections(inner, (*path, key))


def leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all numbers in plain data."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def part(plain: Plain, path: tuple[str, ...]) -> Plain:
    """The mapping at a path."""
    for key in path:
        plain = plain[key]
    return plain


def valid_change(plain: Plain, draw: Draw) -> None:
    """Other values that are as valid."""
    plain["seed"] = draw(st.integers(0, 2**32 - 1))
    plain["name"] = draw(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True).filter(lambda name: name != "store")
    )
    training = plain.setdefault("training", {})
    training["epochs"] = draw(st.integers(1, 1000))
    training["learning_rate"] = draw(st.floats(1e-7, 1.0))
    training["warmup_steps"] = draw(st.integers(0, 10_000))


def unknown_key(plain: Plain, draw: Draw) -> None:
    """A key that no section has."""
    part(plain, draw(st.sampled_from(list(sections(plain)))))[draw(KEYS)] = draw(st.none() | st.integers() | TEXTS)


def wrong_type(plain: Plain, draw: Draw) -> None:
    """Something else in the place of a number."""
    *path, key = draw(st.sampled_from(list(leaves(plain))))
    wrong = [True, "3", "abc", [1], {"zz_a": 1}, "1:30", "0x10", "9" * 5000]
    part(plain, tuple(path))[key] = draw(st.sampled_from(wrong))


def out_of_range(plain: Plain, draw: Draw) -> None:
    """A number beyond any use."""
    *path, key = draw(st.sampled_from(list(leaves(plain))))
    part(plain, tuple(path))[key] = draw(st.sampled_from([10**15, -(10**15)]))


def missing_section(plain: Plain, draw: Draw) -> None:
    """A section that every recipe needs."""
    del plain[draw(st.sampled_from(["task", "teacher", "student"]))]


def no_section(plain: Plain, draw: Draw) -> None:
    """A value in the place of a section."""
    plain[draw(st.sampled_from(["task", "teacher", "student", "distil", "training"]))] = draw(
        st.sampled_from([3, "abc", [1, 2], True])
    )


def unknown_method(plain: Plain, draw: Draw) -> None:
    """A name that is in no table."""
    plain.setdefault("distil", {})["method"] = draw(KEYS | st.integers() | st.lists(KEYS))


def bad_name(plain: Plain, draw: Draw) -> None:
    """A name that cannot be a folder."""
    plain["name"] = draw(st.sampled_from(["", "../x", "a/b", "-", "a" * 300, "store", 3, None, "a\0b", "a\n", ".."]))


PLAIN_FAULTS = {
    change.__name__: change
    for change in (unknown_key, wrong_type, out_of_range, missing_section, no_section, unknown_method, bad_name)
}
TEXT_FAULTS: dict[str, Callable[[str], bytes]] = {
    "unclosed bracket": lambda text: f"{text}zz: [1, 2\n".encode(),
    "deep brackets": lambda text: f"{text}zz: {'[' * 3000}\n".encode(),
    "named type": lambda text: f"{text}zz: !!python/object:os.system x\n".encode(),
    "bad constructor": lambda text: f"{text}zz: !!int abc\n".encode(),
    "undefined alias": lambda text: f"{text}zz: *nothing\n".encode(),
    "recursive alias": lambda text: f"{text}zz: &a [*a]\n".encode(),
    "repeated section": lambda text: f"{text}task: {{}}\n".encode(),
    "null character": lambda text: f"{text}zz: '\0'\n".encode(),
    "other encoding": lambda text: text.encode("utf-16"),
    "invalid byte": lambda text: text.encode() + b"zz: \xff\n",
    "two documents": lambda text: f"{text}---\n{text}".encode(),
    "a list": lambda text: b"- " + text.splitlines()[0].encode() + b"\n",
    "empty": lambda text: b"",
    "unhashable key": lambda text: f"{text}? [a]\n: 1\n".encode(),
}


@st.composite
def recipes(draw: Draw) -> Case:
    """A recipe file."""
    plain = copy.deepcopy(draw(st.sampled_from(RECIPES)))
    valid_change(plain, draw)
    fault = draw(st.sampled_from([VALID, VALID, *PLAIN_FAULTS, *TEXT_FAULTS]))
    if fault in PLAIN_FAULTS:
        PLAIN_FAULTS[fault](plain, draw)
    text = dump_yaml(plain)
    content = TEXT_FAULTS[fault](text) if fault in TEXT_FAULTS else text.encode()

    def read(folder: Path) -> object:
        path = folder / "recipe.yaml"
        path.write_bytes(content)
        recipe = read_recipe(path)
        return recipe.seed, recipe.name

    return Case(fault, read, (plain.get("seed"), plain.get("name")) if fault == VALID else None, content)


RECIPES = plain_recipes()
DOMAIN = Domain("recipes", recipes())
