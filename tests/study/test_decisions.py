from collections.abc import Callable

import numpy as np
import pytest

from understudy.report.facts import FINE_TUNED
from understudy.study.cell_scores import Measured
from understudy.study.decisions import Cells, baseline_of, decide, wins_of

Finished = Callable[..., Measured]
SEEDS = (1, 2)


def option(
    finished: Finished, *distilled: float, metric: str = "bleu", task: str = "a"
) -> dict[tuple[str, int], Measured]:
    """A method's cells on one task, a seed each; the teacher has 60 and the baseline 50, or 1 and 2 of nll."""
    ends = (60.0, 50.0) if metric == "bleu" else (1.0, 2.0)
    return {(task, seed): finished(task, seed, (*ends, own), metric=metric) for seed, own in zip(SEEDS, distilled)}  # noqa: B905 - fewer seeds may be made


def test_the_best_mean_over_seeds_is_kept(finished: Finished) -> None:
    """Shares of 60 and 40 percent beat twice 30; the decision has the runner-up and the paired lead."""
    options = {"Logits": option(finished, 56, 54), "Noisy": option(finished, 53, 53)}
    decision = decide("S3", options, by="gap_closed", carried=None, tasks=("a",))

    assert (decision["kept"], decision["runner_up"], decision["cells"]) == ("Logits", "Noisy", 2)
    assert [own["dev"]["value"] for own in decision["options"]] == pytest.approx([0.5, 0.3])
    assert decision["lead"]["value"] == pytest.approx(0.2)


def test_a_lead_that_may_be_zero_is_noise(finished: Finished) -> None:
    """The lead is paired: a small one that is equal in every resample is no noise, one that a seed reverses is."""
    strong = {"one": option(finished, 56, 56), "other": option(finished, 51, 51)}
    steady = {"one": option(finished, 56, 56), "other": option(finished, 55.8, 55.8)}
    turned = {"one": option(finished, 59, 53), "other": option(finished, 54, 57)}

    assert not decide("S3", strong, by="gap_closed", carried=None, tasks=("a",))["within_noise"]
    assert not decide("S3", steady, by="gap_closed", carried=None, tasks=("a",))["within_noise"]
    assert decide("S3", turned, by="gap_closed", carried=None, tasks=("a",))["within_noise"]


def test_options_are_compared_on_the_cells_they_share(finished: Finished) -> None:
    """A method that has only its lucky seed so far is not compared with both seeds of another."""
    options = {"whole": option(finished, 54, 58), "half": option(finished, 55)}
    decision = decide("S3", options, by="gap_closed", carried=None, tasks=("a",))

    assert decision["cells"] == 1
    assert [own["dev"]["value"] for own in decision["options"]] == pytest.approx([0.4, 0.5])
    assert decision["kept"] == "half"


def test_an_option_without_cells_is_listed_and_not_compared(finished: Finished) -> None:
    """The others are compared without it."""
    options: dict[str, Cells] = {"made": option(finished, 54), "not": {}}
    decision = decide("S3", options, by="gap_closed", carried=None, tasks=("a",))

    assert decision["kept"] == "made"
    assert decision["options"][1] == {
        "method": "not",
        "dev": {"value": None, "low": None, "high": None},
        "carried": False,
        "finished": 0,
    }
    assert "runner_up" not in decision


def test_an_option_with_a_few_lucky_cells_decides_nothing(finished: Finished) -> None:
    """One cell of three: it would be kept on that one alone, and carried on into every later stage."""
    third = {("a", 3): finished("a", 3, (60.0, 50.0, 54.0))}
    options: dict[str, Cells] = {"whole": option(finished, 54, 54) | third, "lucky": option(finished, 59)}
    decision = decide("S7", options, by="gap_closed", carried=None, tasks=("a",))

    assert (decision["kept"], decision["cells"]) == ("whole", 3)
    assert decision["options"][1]["dev"]["value"] is None
    assert decision["options"][1]["finished"] == 1


def test_nothing_is_kept_where_nothing_is_known(finished: Finished) -> None:
    """This holds without cells, and where the teacher does not lead."""
    unknown = {("a", 1): finished("a", 1, (60.0, 59.9, 60.0), known=False)}

    both: tuple[dict[str, Cells], ...] = ({"one": {}, "other": {}}, {"one": unknown})
    for options in both:
        assert decide("S3", options, by="gap_closed", carried=None, tasks=("a",))["kept"] is None


def test_lower_scores_are_better_where_they_are(finished: Finished) -> None:
    """A stage that compares fine-tuned students by nll keeps the lower one and shows it with its own sign."""
    options = {"bart": option(finished, 1.4, 1.4, metric="nll"), "gpt2": option(finished, 1.9, 1.9, metric="nll")}
    decision = decide("S1", options, by="score", carried=None, tasks=("a",))
    own = decision["options"][0]["dev"]

    assert decision["kept"] == "bart"
    assert own["value"] == pytest.approx(1.4)
    assert own["low"] is not None
    assert own["high"] is not None
    assert own["low"] <= 1.4 <= own["high"]


def test_the_baseline_closes_no_gap(finished: Finished) -> None:
    """As an option it has the fine-tuned student's scores, resample by resample."""
    cells = option(finished, 56, 54)
    baseline = baseline_of({"Logits": cells})

    for at, cell in baseline.items():
        assert cell.facts["method"] == FINE_TUNED
        assert cell.facts["scores"]["dev"] == {"bleu": 50.0}
        assert cell.facts["gap_closed"]["dev"]["bleu"]["value"] == 0
        np.testing.assert_array_equal(cell.scores["dev"][:, 2], cells[at].scores["dev"][:, 1])


def test_a_method_below_the_baseline_is_not_kept(finished: Finished) -> None:
    """The fine-tuned student is kept instead."""
    worse = option(finished, 49, 48)
    options = {FINE_TUNED: baseline_of({"worse": worse}), "worse": worse}

    assert decide("S3", options, by="gap_closed", carried=FINE_TUNED, tasks=("a",))["kept"] == FINE_TUNED


def test_wins_are_counted_over_tasks_metrics_and_seeds(finished: Finished) -> None:
    """One has two contests of three, level with the best in one of them; alone there is no contest."""
    one = option(finished, 56, 54) | option(finished, 1.5, metric="nll", task="b")
    other = option(finished, 55, 54) | option(finished, 1.2, metric="nll", task="b")
    lonely = option(finished, 56, task="c")

    assert wins_of("one", {"one": one | lonely, "other": other}) == (2, 3)
    assert wins_of("other", {"one": one | lonely, "other": other}) == (2, 3)
