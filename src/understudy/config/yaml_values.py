"""Reads YAML text as plain data, with the scalars of YAML 1.2 and without what can exhaust a machine.

YAML 1.1, which PyYAML implements, reads 010 as 8, 1:30 as 90, `no` as false and 2020-01-01 as a date. Here a number is
written as in JSON, true and false are the only booleans, and everything else is text. 1e-4 is a number.
"""

import re
from typing import Any

import yaml

from understudy.errors import ConfigError

MOST_VALUES = 100_000
"""Values in one file, counted as often as aliases repeat them."""
MOST_DEPTH = 100
"""Collections inside of each other. PyYAML needs seconds for three thousand opened brackets."""
NULL, BOOL, INT, FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float"))
PATTERNS = {
    NULL: (r"null|Null|NULL|~|", "nN~"),
    BOOL: (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    INT: (r"[-+]?(0|[1-9][0-9]{0,18})", "-+0123456789"),
    FLOAT: (
        r"[-+]?(?=.*[.eE])(\.[0-9]{1,20}|(0|[1-9][0-9]{0,18})(\.[0-9]{0,20})?)([eE][-+]?[0-9]{1,3})?",
        "-+.0123456789",
    ),
}
"""Tag -> the pattern of its scalars, and the characters they begin with. Those of null include the empty text. A number
with more digits than a 64-bit integer has stays text, which no setting accepts as a number.
"""


def load_yaml(text: str, where: str) -> object:
    """The plain data in a YAML text.

    Args:
        text: of a file, or the value of one setting.
        where: its name in messages.

    Raises:
        ConfigError: if it is not YAML, repeats a key, names a type, refers to itself, is nested too deeply for a
            recipe, or has more than `MOST_VALUES` values.
    """
    try:
        check_depth(text)
        node = yaml.compose(text, Loader=StrictLoader)
        count_values(node, {})
        return yaml.load(text, Loader=StrictLoader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None


def check_depth(text: str) -> None:
    """Reads a text up to the first place that is nested too deeply.

    Raises:
        ValueError: if there is one.
        yaml.YAMLError: if the text before it is not YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=StrictLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise ValueError(f"over {MOST_DEPTH} collections are nested; remove brackets or indentation")


def dump_yaml(plain: object) -> str:
    """The YAML text of plain data, which `load_yaml` and readers of YAML 1.1 read back as the same data."""
    return yaml.dump(plain, Dumper=_QuotingDumper, sort_keys=False, allow_unicode=True, width=100)


def count_values(node: yaml.Node | None, counted: dict[int, int]) -> int:
    """The number of values below a node, counting what an alias repeats each time.

    Args:
        node: of a composed document.
        counted: the nodes that were counted before, by identity; 0 while one is being counted.

    Raises:
        ValueError: if a node contains itself, or there are too many.
    """
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in counted:
        counted[id(node)] = 0
        inner = (part for value in node.value for part in (value if isinstance(value, tuple) else (value,)))
        counted[id(node)] = 1 + sum(count_values(part, counted) for part in inner)
    elif not counted[id(node)]:
        raise ValueError(f"line {node.start_mark.line + 1} contains itself; remove the alias")
    if counted[id(node)] > MOST_VALUES:
        raise ValueError(
            f"more than {MOST_VALUES:,} values; a recipe holds settings, and data are in files of their own"
        )
    return counted[id(node)]


class StrictLoader(yaml.SafeLoader):
    """A safe loader with the scalars of YAML 1.2, which refuses named types and keys that occur twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as in the base class

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuses a repeated key, where YAML would keep the last without a warning."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1} repeats the key {key.value!r}; keep one")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def construct_named_type(self, node: yaml.Node) -> object:
        """Refuses `!!int abc` and the like: the type of a value follows from how it is written."""
        raise yaml.YAMLError(f"line {node.start_mark.line + 1} names the type {node.tag!r}; remove it")


class _QuotingDumper(yaml.SafeDumper):
    """Quotes a text that either version of YAML would read as something else."""

    yaml_implicit_resolvers = {first: list(rules) for first, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()}  # noqa: RUF012 - as in the base class


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes U+0085 between single quotation marks as it is, and reads it back as a space.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


def _is_implicit(tag: str) -> bool:
    return tag in {*PATTERNS, *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map", "merge"))}


for _tag, (_pattern, _first) in PATTERNS.items():
    for _class in (StrictLoader, _QuotingDumper):
        _class.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), [*_first, *([""] * (_tag == NULL))])
StrictLoader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])
StrictLoader.yaml_constructors = {
    tag: constructor for tag, constructor in yaml.SafeLoader.yaml_constructors.items() if tag and _is_implicit(tag)
} | {None: StrictLoader.construct_named_type}
_QuotingDumper.add_representer(str, _represent_text)
