from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.config.study import Study, cells_of, check_study
from understudy.report.facts import FINE_TUNED
from understudy.report.table_facts import ResultsTable
from understudy.study.cell_scores import Measured
from understudy.study.results_table import results_table_of

Finished = Callable[..., Measured]


def table_of(study: Study, found: dict[str, Measured], errors: dict[str, str] | None = None) -> ResultsTable:
    """The results table of a study of which these cells are finished."""
    cells = list(cells_of(study))
    nothing = dict.fromkeys((cell.recipe.name for cell in cells), "")
    return results_table_of(
        study, cells, found={name: found.get(name) for name in nothing}, errors=nothing | (errors or {})
    )


@pytest.fixture
def whole(raw: dict[str, Any], finished: Finished) -> ResultsTable:
    """Two tasks: logits close half and a fifth of the gap, sequence-level nothing and all of it."""
    raw["tasks"] = {"a": None, "b": None}
    closed = {("Logits", "a"): 0.5, ("Logits", "b"): 0.2, ("Sequence-level", "a"): 0.0, ("Sequence-level", "b"): 1.0}
    found = {
        f"{task}-{method}-{seed}": finished(task, seed, (60.0, 50.0, 50.0 + 10 * share + (0.2 if seed == 1 else -0.2)))
        for (method, task), share in closed.items()
        for seed in (1, 2)
    }
    return table_of(check_study(raw, folder=Path()), found)


def test_means_are_over_seeds_then_tasks(whole: ResultsTable) -> None:
    """By hand: 50 and 20 percent give 35, 0 and 100 give 50."""
    rows = {row["method"]: row["dev"] for row in whole["summary"]}

    assert [rows["Logits"]["tasks"][task]["mean"]["value"] for task in ("a", "b")] == pytest.approx([0.5, 0.2])
    assert rows["Logits"]["all"]["mean"]["value"] == pytest.approx(0.35)
    assert rows["Sequence-level"]["all"]["primary"]["value"] == pytest.approx(0.5)
    assert [row["finished"] for row in whole["summary"]] == [row["total"] for row in whole["summary"]] == [4, 4]


def test_a_stage_is_compared_with_the_option_that_the_one_before_kept(whole: ResultsTable) -> None:
    """S3 beats the fine-tuned student; S4 is compared with the option that S3 kept, and wins are counted by hand."""
    first, second = whole["decisions"]

    assert [own["method"] for own in first["options"]] == [FINE_TUNED, "Logits"]
    assert first["kept"] == "Logits"
    assert [(own["method"], own["carried"]) for own in second["options"]] == [
        ("Logits", True),
        ("Sequence-level", False),
    ]
    assert second["kept"] == "Sequence-level"
    assert [(row["wins"], row["contests"]) for row in whole["summary"]] == [(4, 4), (2, 4)]


def test_the_interval_of_two_tasks_is_narrower_than_each(whole: ResultsTable) -> None:
    """Examples of tasks are drawn independently, so their noise averages out."""
    dev = whole["summary"][0]["dev"]

    def width(own: Any) -> float:  # noqa: ANN401 - an interval whose ends are known
        return float(own["high"] - own["low"])

    assert width(dev["all"]["mean"]) < np.mean([width(own["mean"]) for own in dev["tasks"].values()])


def test_a_kept_method_is_carried_on_until_it_is_beaten(raw: dict[str, Any], finished: Finished) -> None:
    """A stage whose rows all lose keeps what was kept before, and the next stage is compared with it."""
    raw["seeds"] = [1]
    raw["methods"].append({"name": "Joint-Teaching", "group": "S8", "method": "joint_teaching"})
    shares = {"Logits": 56.0, "Sequence-level": 51.0, "Joint-Teaching": 58.0}
    found = {f"tiny-{name}-1": finished("tiny", 1, (60.0, 50.0, own)) for name, own in shares.items()}
    decisions = table_of(check_study(raw, folder=Path()), found)["decisions"]

    assert [own["kept"] for own in decisions] == ["Logits", "Logits", "Joint-Teaching"]
    assert decisions[2]["options"][0] == decisions[1]["options"][0]


def test_students_without_distillation_are_compared_by_their_scores(raw: dict[str, Any], finished: Finished) -> None:
    """A stage of fine-tuning rows has no share of the gap, and what it keeps is not compared with methods."""
    raw["seeds"] = [1]
    raw["methods"].insert(0, {"name": "Narrow", "group": "S1", "method": "fine_tune"})
    raw["methods"].insert(1, {"name": "Wide", "group": "S1", "method": "fine_tune"})
    shares = {"Narrow": 49.0, "Wide": 51.0, "Logits": 56.0}
    found = {f"tiny-{name}-1": finished("tiny", 1, (60.0, 50.0, own)) for name, own in shares.items()}
    results_table = table_of(check_study(raw, folder=Path()), found)
    first, second, _ = results_table["decisions"]

    assert (first["by"], first["kept"]) == ("score", "Wide")
    assert [own["dev"]["value"] for own in first["options"]] == pytest.approx([49.0, 51.0])
    assert [own["method"] for own in second["options"]] == [FINE_TUNED, "Logits"]
    assert [row["dev"]["all"]["mean"]["value"] for row in results_table["summary"][:3]] == [
        None,
        None,
        pytest.approx(0.6),
    ]


def test_missing_cells_are_listed(tiny: Study, finished: Finished) -> None:
    """A cell that failed has its error."""
    one = {"tiny-Logits-1": finished("tiny", 1, (60.0, 50.0, 55.0))}
    results_table = table_of(tiny, one, {"tiny-Logits-2": "no such file"})

    assert [(cell["method"], cell["seed"], cell["error"]) for cell in results_table["missing"]] == [
        ("Sequence-level", 1, ""),
        ("Logits", 2, "no such file"),
        ("Sequence-level", 2, ""),
    ]
    assert [(row["finished"], row["total"]) for row in results_table["summary"]] == [(1, 2), (0, 2)]
    assert results_table["summary"][1]["dev"]["tasks"] == {}


def test_a_gap_that_is_noise_is_left_out(tiny: Study, finished: Finished) -> None:
    """The mean is over the seeds in which the teacher leads."""
    found = {
        "tiny-Logits-1": finished("tiny", 1, (60.0, 50.0, 55.0)),
        "tiny-Logits-2": finished("tiny", 2, (60.0, 59.9, 60.0), known=False),
    }
    results_table = table_of(tiny, found)

    assert results_table["summary"][0]["dev"]["all"]["mean"]["value"] == pytest.approx(0.5)
