"""The language of requirements: what it means, and one sentence with the column for what is no requirement."""

import random

import pytest

from understudy.errors import ConfigError
from understudy.evaluation.requirements import Requirement, parse_requirement

METRICS = {"bleu": True, "wer": False, "distinct_2": None, "latency_p50": False, "nll": False}
SYSTEMS = ("teacher", "new", "new:teacher", "e2e-joint", "e2e", "2024-run", "a run")


def parsed(text: str) -> Requirement:
    """With these metrics and systems."""
    return parse_requirement(text, metrics=METRICS, systems=SYSTEMS)


@pytest.mark.parametrize(
    ("text", "operator", "system", "offset", "relative"),
    [
        ("bleu >= teacher - 1", ">=", "teacher", -1.0, False),
        ("  bleu>=teacher-1\t", ">=", "teacher", -1.0, False),
        ("bleu > new:teacher + .5", ">", "new:teacher", 0.5, False),
        ("bleu >= teacher", ">=", "teacher", 0.0, False),
        ("bleu >= teacher - 2 %", ">=", "teacher", -0.02, True),
        ("bleu >= e2e-joint-1e-1", ">=", "e2e-joint", -0.1, False),
        ("bleu >= e2e-1", ">=", "e2e", -1.0, False),
        ("bleu >= 2024-run - 1", ">=", "2024-run", -1.0, False),
        ("bleu >= a run - 1", ">=", "a run", -1.0, False),
        ("bleu >= 30", ">=", None, 30.0, False),
        ("wer < -0.5", "<", None, -0.5, False),
        ("latency_p50 <= 20.", "<=", None, 20.0, False),
        ("distinct_2 <= 90", "<=", None, 90.0, False),
        ("distinct_2 >= teacher", ">=", "teacher", 0.0, False),
    ],
)
def test_requirements_are_read(text: str, operator: str, system: str | None, offset: float, *, relative: bool) -> None:
    """Blanks do not matter, names may contain signs and blanks, and the longest name that fits is meant."""
    found = parsed(text)

    assert (found.operator, found.system, found.relative) == (operator, system, relative)
    assert found.offset == pytest.approx(offset)
    assert found.text == text.strip()


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("", 1, "expected the name of a metric, found the end"),
        ("   ", 1, "expected the name of a metric"),
        (">= 3", 1, "expected the name of a metric, found '>'"),
        ("blue >= 3", 1, "unknown metric 'blue'.*did you mean 'bleu'"),
        ("bleu", 5, "expected >=, <=, > or <, found the end"),
        ("bleu = 3", 6, "expected >=, <=, > or <, found '='"),
        ("bleu ≥ 3", 6, "expected >=, <=, > or <, found '≥'"),
        ("bleu <= 3", 6, "higher values of bleu are better.*use >="),
        ("bleu >= teacher - 100%", 9, "100% less than a value is nothing or less"),
        ("wer > teacher", 5, "lower values of wer are better.*use <="),
        ("bleu >=", 8, "expected a number or a system, found the end"),
        ("bleu >== 3", 8, "expected a number or a system, found '='"),
        ("bleu >= techer - 1", 9, "known systems: teacher, .*did you mean 'teacher'"),
        ("bleu >= teacherx", 9, "expected a number or a system"),
        ("bleu >= 98%", 11, "expected the end after the number, found '%'"),
        ("bleu >= 3 bleu", 10, "expected the end after the number"),
        ("bleu >= teacher * 2", 17, r"expected \+ or - after the system, found '\*'"),
        ("bleu >= teacher -", 18, "expected a number, found the end"),
        ("bleu >= teacher - -1", 19, "expected a number, found '-'"),
        ("bleu >= teacher - nan", 19, "expected a number, found 'n'"),
        ("bleu >= teacher - 1 %%", 22, "expected the end, found '%'"),
        ("bleu >= teacher - 1 and wer < 3", 21, "expected the end, found 'a'"),
        ("bleu >= 1e999", 9, "too large"),
        ("bleu >= ٣", 9, "expected a number or a system"),
        ("bleu >= \x1b[2J", 9, r"found '\\x1b'"),
        ("bleu\n>= 3", 5, r"found '\\n'"),
        ("bleu >= \ud800", 9, "found '.ud800'"),
    ],
)
def test_what_is_no_requirement_is_one_sentence_with_the_column(text: str, column: int, problem: str) -> None:
    """The text, the column, what was expected and found, and an example."""
    with pytest.raises(
        ConfigError, match=f"column {column}: .*{problem}.*an example is 'bleu >= teacher - 1'"
    ) as refused:
        parsed(text)
    assert str(refused.value).isprintable()


def test_the_message_on_a_long_text_is_short() -> None:
    """The text is cut; the column is exact."""
    with pytest.raises(ConfigError, match="column 50006: expected the name of a metric") as refused:
        parsed(" " * 50_005 + "\0" * 50_000)
    assert len(str(refused.value)) < 300
    with pytest.raises(ConfigError, match=r"column 9: the number .* is too large"):
        parsed("bleu >= " + "9" * 100_000)


def test_any_text_is_read_or_refused() -> None:
    """3,000 random combinations of its parts, and random characters, raise nothing else."""
    draw = random.Random(0)
    parts = ["teacher", "a run", "-", "+", "%", "1", "1e9", ".", " ", "\t", "\0", "é", "−", ":", "wer", "<"]
    read = 0
    for _ in range(3000):
        try:
            parsed(draw.choice(["bleu >= ", ""]) + "".join(draw.choice(parts) for _ in range(draw.randrange(6))))
            read += 1
        except ConfigError as refused:
            assert "column" in str(refused)  # noqa: PT017 - most texts are refused
    assert read > 10
