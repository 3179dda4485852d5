"""What is in a stage's key: its fields, and nothing else."""

import dataclasses
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict
from tests.store.toy_stages import Text, Where, Words

from understudy.store import Content, Stage
from understudy.store.stage import FinishedStage, content_key, inputs_of


class Sampling(BaseModel):
    """A section of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    top_p: float = 1.0
    start: tuple[int, ...] = ()


class Beam(BaseModel):
    """Another section, with the same fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    top_p: float = 1.0
    start: tuple[int, ...] = ()


@dataclass(frozen=True)
class Limits:
    """A dataclass among a stage's fields."""

    longest: int
    source: Stage[Any] | None = None


@dataclass(frozen=True)
class Toy(Stage[Any]):
    """A stage with a field of any kind."""

    value: object
    other: object = None
    name: ClassVar[str] = "toy"


def different(*values: object) -> bool:
    """Whether the keys of stages with these values all differ."""
    return len({Toy(value).key for value in values}) == len(values)


def test_every_field_is_in_the_key() -> None:
    """Another value, and the same value in another field: another key; equal values, the same key."""
    assert Toy(1).key == Toy(1).key
    assert len({Toy(1).key, Toy(2).key, Toy(None, 1).key}) == 3
    assert len(Toy(1).key) == 16
    assert Toy(1).folder_name == f"toy-{Toy(1).key}"


def test_name_and_version_are_in_the_key() -> None:
    """Two classes with equal fields have different results, and so have two versions of one."""

    @dataclass(frozen=True)
    class Renamed(Toy):
        name: ClassVar[str] = "renamed"

    @dataclass(frozen=True)
    class Newer(Toy):
        version: ClassVar[int] = 2

    assert len({Toy(1).key, Renamed(1).key, Newer(1).key}) == 3


def test_values_of_different_types_have_different_keys() -> None:
    """Numbers to the last digit; 1, 1.0, True and "1" are four values."""
    assert different(1, 1.0, True, "1", None, "", (), (1,), ((1,),), {}, {"1": 1})
    assert different(0.3, 0.1 + 0.2, float("inf"), float("nan"), -0.0, 0.0)
    assert different((1, 2), (2, 1), ("ab", "c"), ("a", "bc"))
    assert different({"a": 1}, {"b": 1}, {"a": {"b": 1}}, {"a": 1, "b": 1})
    assert Toy({"a": 1, "b": 2}).key == Toy({"b": 2, "a": 1}).key


def test_an_optional_field_that_is_not_used_changes_no_key() -> None:
    """A version that adds a setting, None by default, finds what the one before it made; once used, it counts."""

    @dataclass(frozen=True)
    class Later(Toy):
        added: int | None = None

    @dataclass(frozen=True)
    class LaterLimits(Limits):
        added: int | None = None

    LaterLimits.__name__ = "Limits"
    assert Later(1).key == Toy(1).key
    assert Later(1, added=0).key != Toy(1).key
    assert Toy(LaterLimits(3)).key == Toy(Limits(3)).key
    assert different(LaterLimits(3, added=0), Limits(3))


def test_sections_and_dataclasses_are_in_the_key_with_their_class() -> None:
    """A value deep inside changes the key, and so does another class with equal fields."""
    assert different(Sampling(), Sampling(top_p=0.9), Sampling(start=(1,)), Beam())
    assert different(Limits(3), Limits(4), {"longest": 3, "source": None})
    assert Toy(Sampling()).key == Toy(Sampling(top_p=1.0)).key


def test_a_stage_in_a_field_is_in_the_key_by_its_own_key() -> None:
    """However deep it lies, a changed setting of an earlier stage changes the keys of all that depend on it."""
    one, other = Text("a"), Text("b")

    assert different(one, other, (one,), (other,), Limits(3, one), Limits(3, other), Toy(Toy(one)), Toy(Toy(other)))
    assert Toy(one).fields == {"value": {"stage": one.key}}
    nested = Toy((one, Limits(3, other)), {"last": Words(one)})
    assert dict(inputs_of(nested)) == {"value.0": one, "value.1.source": other, "other.last": Words(one)}


def test_the_place_of_content_is_not_in_the_key() -> None:
    """Equal content in another place is the same content."""
    here = Toy(Content("0f1e", "data/inputs.txt"))

    assert here.key == Toy(Content("0f1e", "/elsewhere/inputs.txt")).key
    assert here.key != Toy(Content("0f1f", "data/inputs.txt")).key


@pytest.mark.parametrize(
    "value", [Path("x"), len, Toy, [1], {1}, b"x", object()], ids=lambda value: type(value).__name__
)
def test_a_value_that_is_not_its_content_is_refused(value: object) -> None:
    """A path, a function, a class, something that can change, however deep: the message names its type."""
    for nested in (value, (1, value), {"a": (value,)}):
        with pytest.raises(TypeError, match=rf"field cannot be a {type(value).__name__}\b"):
            _ = Toy(nested).key


def test_a_class_that_is_no_dataclass_of_its_own_is_refused() -> None:
    """Its settings would be no fields, and two different stages would have one key."""

    class Plain(Text):
        setting: int = 3

    with pytest.raises(TypeError, match=r"Plain must be a frozen dataclass"):
        _ = Plain("a").key


def test_keys_survive_pickling_and_another_process() -> None:
    """A worker computes the same key, whatever the order of its hashes."""
    stage = Words(Text("a b", (Text("c"), Where("engine"))))
    script = (
        "import pickle, sys; stage = pickle.load(sys.stdin.buffer); stage.__dict__.pop('key', None); print(stage.key)"
    )
    there = subprocess.run([sys.executable, "-c", script], input=pickle.dumps(stage), capture_output=True, check=True)

    assert there.stdout.decode().strip() == stage.key
    assert pickle.loads(pickle.dumps(stage)) == stage  # noqa: S301 - pickled here


def test_a_changed_copy_has_a_key_of_its_own() -> None:
    """The key that the original kept is not copied."""
    stage = Text("a")

    assert stage.key != dataclasses.replace(stage, text="b").key == Text("b").key


def test_a_finished_stage_has_the_key_of_the_stage_it_names() -> None:
    """What depends on it has the key that it would have with the stage itself."""
    text = Text("a")
    finished = FinishedStage(text.folder_name)

    assert (finished.key, finished.folder_name) == (text.key, text.folder_name)
    assert Toy((finished,)).key == Toy((text,)).key


def test_equal_plain_data_has_equal_keys() -> None:
    """Whatever the order of a dict; the order of a list counts."""
    assert content_key({"a": 1, "b": {"c": 2, "d": None}}) == content_key({"b": {"d": None, "c": 2}, "a": 1})
    assert content_key({"a": [1, 2]}) != content_key({"a": [2, 1]})
