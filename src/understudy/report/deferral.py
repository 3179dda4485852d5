"""The section on confidence and deferral: what it says of both, its table. The drawings are in `deferral_figures`."""

from understudy.report.confidence_facts import ConfidenceFacts
from understudy.report.facts import Facts
from understudy.report.formatting import SPACE, decimal_places, fixed, metric_heading, money, percent, signed
from understudy.report.tables import TextCell, TextTable

SHOWN_SHARES = (0.0, 0.1, 0.2, 0.5, 1.0)
"""Shares of dev that the thresholds in the table defer; the curve has a point for each."""


def confidence_sentences(facts: Facts) -> list[str]:
    """What confidence means here and how well it separates good texts from others; nothing without facts."""
    own = facts.get("confidence")
    if own is None:
        return []
    return [
        (
            "Confidence is the student's own probability per token of a text. Calibrated on dev, it is the probability "
            f"that the text scores at least as well as the teacher's in {own['label']} on its input alone. "
            f"This is true of {percent(own['not_worse'])} of the test texts."
        ),
        _references(facts),
        (
            f"Expected calibration error on test: {percent(own['error_before'], 1)} before calibration, "
            f"{percent(own['error_after'], 1)} after (temperature {fixed(own['temperature'], 2)}, offset "
            f"{signed(own['offset'], 2)})."
        ),
        _ranking(own),
        (
            "Below, the teacher answers where the probability is under the threshold and the student elsewhere. "
            "Thresholds are chosen on dev and shown on test."
        ),
        *own["notes"],
    ]


def deferral_table(facts: Facts) -> TextTable:
    """The system at the thresholds that defer 0, 10, 20, 50 and 100 % of dev; no rows without facts."""
    own = facts.get("confidence")
    heading = metric_heading(facts, own["metric"]) if own else ""
    priced = own is not None and all("cost" in point for point in own["test"])
    head = ("Deferred on dev", "Threshold", "Deferred", heading, "Of the teacher's", "Better than random")
    head = (*head, *(("Cost of 1,000 requests",) if priced else ()))
    if own is None:
        return TextTable(head, ())
    places = decimal_places(facts, own["metric"])
    rows = []
    for share in SHOWN_SHARES:
        point = own["test"][round(share * (len(own["test"]) - 1))]
        interval = f"[{fixed(point['low'], places)},{SPACE}{fixed(point['high'], places)}]"
        gain = f"[{signed(point['gain_low'], places)},{SPACE}{signed(point['gain_high'], places)}]"
        cells = (
            TextCell(percent(share)),
            TextCell(fixed(point["threshold"], 3)),
            TextCell(percent(point["deferred"], 1)),
            TextCell(fixed(point["score"], places), interval),
            TextCell(percent(point["quality"], 1)),
            TextCell(signed(point["gain"], places), gain),
        )
        rows.append((*cells, *((TextCell(money(point["cost"])),) if priced else ())))
    return TextTable(head, tuple(rows))


def _ranking(own: ConfidenceFacts) -> str:
    if own["ranking"] is None:
        return "All test texts are of one kind, so confidence has nothing to tell apart."
    return (
        f"A text of which it is true has a higher confidence than one of which it is not in {percent(own['ranking'])} "
        "of such pairs (50 % is chance)."
    )


def _references(facts: Facts) -> str:
    if not facts.get("references_by_teacher"):
        return ""
    return (
        "The references are texts of the teacher, and its score is that of a second text: the student is as good "
        "where it agrees with the teacher as much as the teacher with itself."
    )
