import pytest
from tests.report.study_facts import decision, means, plain, share

from understudy.report.facts import FINE_TUNED
from understudy.report.table_facts import ResultsTable
from understudy.report.table_text import decision_text, headline, limitations


def test_a_decision_gives_the_lead_and_its_uncertainty() -> None:
    """The kept option, the runner-up, the lead with its interval, the number of cells, and the paper's choice."""
    text = plain(decision_text(decision()))

    for part in (
        "Keeps Logits: 40 % [30, 50] of the gap on dev, over 4 cells",
        "runner-up is Noisy with 30 % [20, 40]",
        "lead of +10 points [−2, 22] is within noise",
        "The paper keeps Logits.",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"within_noise": False}, ("beyond noise", "4 cells")),
        ({"kept": None, "cells": 0}, ("No decision yet", "no cell")),
        ({"kept": None}, ("No decision", "no metric of 4 cells")),
        ({"kept": FINE_TUNED}, ("Keeps fine-tuned student (unchanged)", "0 % [0, 0]")),
        ({"paper_stage": "mine"}, ("4 cells",)),
    ],
)
def test_a_decision_claims_no_more_than_is_known(changes: dict[str, object], parts: tuple[str, ...]) -> None:
    """Each possible end has its own sentence; a stage that the paper does not have is not compared with it."""
    text = plain(decision_text(decision(**changes)))

    assert all(part in text for part in parts)
    assert ("The paper keeps" in text) == (changes.get("paper_stage") is None)


def test_options_with_too_few_cells_are_named() -> None:
    """They have finished cells but take no part in the decision."""
    started = decision()
    started["options"][2] |= {"dev": share(None), "finished": 1}
    del started["runner_up"]
    text = plain(decision_text(started))

    assert "no other option" in text
    assert "Not compared" in text
    assert "Noisy (1 cell)" in text


def test_a_decision_by_score_is_in_the_unit_of_the_metric() -> None:
    """Architectures are compared by their scores, not by shares of the gap."""
    options = [{"method": "bart", "dev": {"value": 51.0, "low": 50.0, "high": 52.0}, "carried": False, "finished": 4}]
    alone = decision(paper_stage="S1", by="score", options=options, kept="bart")
    del alone["runner_up"]
    text = plain(decision_text(alone))

    assert "Keeps bart: 51.0 [50.0, 52.0] in the primary metric on dev" in text
    assert "%" not in text
    assert "The paper keeps encoder-decoder" in text


def test_the_headline_is_the_best_row(results: ResultsTable) -> None:
    """It also states how many cells are finished, and ignores a row with a single lucky cell."""
    text = plain(headline(results))
    assert text.startswith("Logits closes 40 % [30, 50] of the gap")
    assert "2 tasks" in text
    assert "5 of 8 cells" in text

    lucky = results["summary"][0] | {"method": "Hot", "finished": 1, "dev": {"tasks": {}, "all": means(0.9)}}
    assert plain(headline(results | {"summary": [*results["summary"], lucky]})).startswith("Logits closes 40 %")
    for own in results["summary"]:
        own["dev"] = {"tasks": {}, "all": means(None)}
    assert headline(results).startswith("little: no share of the gap is known yet.")


def test_limitations_name_single_seeds_failures_and_missing_cells(results: ResultsTable) -> None:
    """Two cells with one seed each, one failed cell, one cell still to run."""
    seeds, failed, to_run = limitations(results)

    assert "one seed" in seeds
    assert failed.startswith("1 cell failed")
    assert to_run.startswith("1 cell still to run")

    results["missing"] = []
    results["rows"] += [own | {"seed": 2} for own in results["rows"]]
    assert limitations(results) == []
