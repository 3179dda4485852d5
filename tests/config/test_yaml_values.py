"""What a value of a YAML file is read as, and what is refused before anything is validated."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from understudy.config.read import check_recipe
from understudy.config.yaml_files import read_mapping
from understudy.config.yaml_values import MOST_VALUES, dump_yaml, load_yaml
from understudy.errors import ConfigError

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(PLAIN)
def test_plain_data_survive_writing_and_reading(plain: object) -> None:
    """Here and in readers of YAML 1.1: what one of them would read as a number is quoted."""
    written = dump_yaml(plain)

    assert load_yaml(written, "this") == plain
    assert yaml.safe_load(written) == plain


@pytest.mark.parametrize(
    "text", ["010", "0x1F", "0o7", "1:30", "1_000", "no", "on", "2020-01-01", ".inf", ".nan", "9" * 5000]
)
def test_what_only_yaml_1_1_calls_a_number_a_boolean_or_a_date_is_text(text: str) -> None:
    """A setting that expects a number then refuses it, instead of training 90 epochs for 1:30."""
    assert load_yaml(f"a: {text}", "this") == {"a": text}


@pytest.mark.parametrize(("text", "value"), [("3e-4", 3e-4), ("1E3", 1000.0), (".5", 0.5), ("5.", 5.0), ("-0.0", -0.0)])
def test_numbers_are_read_as_json_writes_them(text: str, value: float) -> None:
    """YAML 1.1 reads 3e-4 as text."""
    found = load_yaml(text, "this")

    assert isinstance(found, float)
    assert found == value
    assert math.copysign(1, found) == math.copysign(1, value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!int abc", "this is not valid YAML"),
        ("a: !!python/object:os.system 1", "names the type"),
        ("[" * 5000, "over 100 collections are nested"),
        ("&a [*a]", "contains itself"),
        ("a: 1\nb: 2\na: 3", "line 3 repeats the key 'a'"),
        ("a: \x00", "unacceptable character"),
        ("? [a]\n: 1", "unhashable key"),
        ("--- a\n--- b", "expected a single document"),
    ],
)
def test_what_cannot_be_a_recipe_is_one_sentence(text: str, message: str) -> None:
    """A constructor that fails, a type, a bomb, a repeated key."""
    with pytest.raises(ConfigError, match=message):
        load_yaml(text, "this")


def test_aliases_may_repeat_a_section_but_not_exhaust_the_memory() -> None:
    """Ten levels of ten aliases are ten thousand million values in 500 bytes."""
    assert load_yaml("a: &x [1, 2]\nb: *x", "this") == {"a": [1, 2], "b": [1, 2]}
    bomb = "l0: &l0 [1]\n" + "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 11))

    with pytest.raises(ConfigError, match=f"more than {MOST_VALUES:,} values"):
        load_yaml(bomb, "this")


def test_paths_that_cannot_be_read_are_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A folder, a name over the limit of the file system, a null character, a file in another encoding."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "utf16.yaml").write_bytes("a: 1".encode("utf-16"))
    (folder / "bom.yaml").write_bytes("a: 1".encode("utf-8-sig"))
    for path, message in {
        str(folder): "is a folder, not a recipe",
        str(folder / ("x" * 300)): "File name too long",
        str(folder / "a\0b"): "null",
        str(folder / "utf16.yaml"): "is not UTF-8 text .byte 0xff at position 0.; save the file as UTF-8",
    }.items():
        with pytest.raises(ConfigError, match=message):
            read_mapping(path, "recipe")

    assert read_mapping(folder / "bom.yaml", "recipe") == {"a": 1}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epochs=true", r"training\.epochs: expected a whole number such as 4, got True"),
        ("training.epochs='3'", r"training\.epochs: expected a whole number such as 4, got '3'"),
        ("training.epochs=3.0", r"training\.epochs: expected a whole number such as 4, got 3\.0"),
        ("training.epochs=010", r"training\.epochs: expected a whole number such as 4, got '010'"),
        ("training.epochs=1000000000000", r"training\.epochs: must be 1 to 10,000, .* got 1,000,000,000,000"),
        ("training.learning_rate=true", r"training\.learning_rate: expected a number such as 0\.5, got True"),
        ("training.learning_rate=.inf", r"training\.learning_rate: expected a number such as 0\.5, got '\.inf'"),
        ("evaluation.resamples=100000000", r"evaluation\.resamples: must be 20 to 100,000"),
        ("distil.enable_student_dropout=1", r"distil\.enable_student_dropout: expected true or false, got 1"),
        ("training.learning_rate=1e11", r"training\.learning_rate: must be greater than 0 and at most 10\.0"),
        ("pseudo_targets.inputs=[]", r"pseudo_targets\.inputs: is an empty list; name at least one"),
        ("name=é", r"name: got 'é'; a name becomes a folder"),
        ("seed=-1", r"seed: .*got -1"),
    ],
)
def test_a_number_is_strict_and_bounded(setting: str, message: str) -> None:
    """A boolean, a quoted number, or twelve zeros too many is a slip, not a setting."""
    recipe = {
        "name": "a",
        "task": {"forecast": {}},
        "teacher": {"model": "t5-large"},
        "student": {"model": "t5-small"},
        "distil": {"method": "joint_teaching"},
    }
    with pytest.raises(ConfigError, match=message):
        check_recipe(recipe, [setting])
