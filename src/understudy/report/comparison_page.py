"""The page of a comparison: requirements, scores with paired differences, outputs, costs. It needs no network.

`comparison_facts.py` defines the facts; the pipeline collects them.
"""

from collections.abc import Mapping
from pathlib import Path

from understudy.report.comparison_costs import COST_MEASURES
from understudy.report.comparison_facts import ComparisonFacts, ComparisonRow, RequirementFacts
from understudy.report.content_facts import Interval
from understudy.report.facts import NOT_MEASURED, write_facts
from understudy.report.formatting import (
    SMALL_SCALE,
    UNKNOWN,
    brackets,
    fixed,
    join_nonempty,
    rounded,
    signed,
    whole,
    with_direction,
)
from understudy.report.tables import TextCell, TextTable
from understudy.report.templates import render_template
from understudy.store.disk import write_text

COMPARISON_PAGE, COMPARISON_JSON = "comparison.html", "comparison.json"


def comparison_headline(facts: ComparisonFacts) -> str:
    """Whether the requirements hold, or the differences in the primary metric, as one sentence."""
    requirements = facts["requirements"]
    if requirements:
        met = sum(requirement_holds(one, confident=facts["confident"]) for one in requirements)
        how = "confidently " if facts["confident"] else ""
        if met == len(requirements):
            return f"{facts['candidate']} {how}meets {'the requirement' if met == 1 else f'all {met} requirements'}."
        return f"{facts['candidate']} {how}meets {met} of {len(requirements)} requirements."
    row = facts["metrics"][facts["primary_metric"]]
    places = _places(row)
    differences = [
        f"{join_nonempty(signed(own['value'], places), brackets(own, places=places))} over {name}"
        for name, own in row["advantages"].items()
        if own["value"] is not None
    ]
    advantage = f"; advantage {', '.join(differences)}" if differences else ""
    score = row["scores"].get(facts["candidate"], NOT_MEASURED)
    return f"{facts['candidate']} scores {fixed(score['value'], places)} in {row['label']}{advantage}."


def requirement_holds(one: RequirementFacts, *, confident: bool) -> bool:
    """Whether a requirement holds as it is judged: by the interval on request, where there is one."""
    sure = one["holds_confidently"]
    return sure if confident and sure is not None else one["holds"]


def requirements_table(facts: ComparisonFacts) -> TextTable:
    """Each requirement with its value, its bound, its margin, and the judgement by point estimate and by interval."""
    head = ("Requirement", "Value", "Bound", "Margin", "Point estimate", "Interval")
    return TextTable(head, tuple(_requirement_row(one) for one in facts["requirements"]))


def scores_table(facts: ComparisonFacts, rows: Mapping[str, ComparisonRow]) -> TextTable:
    """The candidate's score, then each other system's score and the candidate's advantage over it; a row per metric."""
    candidate, *others = facts["systems"]
    head = ("Metric", candidate, *(name for other in others for name in (other, f"advantage over {other}")))
    return TextTable(head, tuple(_score_row(facts, row) for row in rows.values()))


def comparison_costs_table(facts: ComparisonFacts) -> TextTable:
    """Size, speed and costs; no rows where no run measured any. The detail is the candidate's value as a multiple."""
    candidate = facts["candidate"]
    rows = []
    for name, row in facts["costs"].items():
        own = row["values"].get(candidate)
        cells = []
        for system in facts["systems"]:
            value = row["values"].get(system)
            times = own is not None and value and system != candidate
            cells.append(
                TextCell(
                    UNKNOWN if value is None else COST_MEASURES[name].shown(value),
                    f"candidate {rounded((own or 0) / value)} times" if times and value else "",
                )
            )
        rows.append((TextCell(with_direction(row["label"], higher_is_better=row["higher_is_better"])), *cells))
    return TextTable(("Cost", *facts["systems"]), tuple(rows))


def systems_table(facts: ComparisonFacts) -> TextTable:
    """Where each system comes from, and how many of its outputs are the candidate's."""
    return TextTable(
        ("System", "Decoding", "Equal to the candidate", "From"),
        tuple(
            (
                TextCell(name, "candidate" if name == facts["candidate"] else ""),
                TextCell(own["decoding"] or UNKNOWN),
                TextCell(f"{whole(own['equal_texts'])} of {whole(facts['examples'])}"),
                TextCell(own["origin"]),
            )
            for name, own in facts["systems"].items()
        ),
    )


def score_signatures(facts: ComparisonFacts) -> list[str]:
    """Every signature once."""
    rows = (*facts["metrics"].values(), *facts["outputs"].values())
    return list(dict.fromkeys(signature for row in rows for signature in row["signatures"].values()))


def render_comparison(facts: ComparisonFacts) -> str:
    """The complete page. Equal facts give equal pages."""
    return render_template(
        "comparison.html.jinja",
        facts=facts,
        headline=comparison_headline(facts),
        headline_class={None: "", True: "better", False: "worse"}[facts["holds"]],
        tables={
            "requirements": requirements_table(facts),
            "metrics": scores_table(facts, facts["metrics"]),
            "outputs": scores_table(facts, facts["outputs"]),
            "costs": comparison_costs_table(facts),
            "systems": systems_table(facts),
        },
        signatures=score_signatures(facts),
    )


def write_comparison(facts: ComparisonFacts, folder: Path) -> Path:
    """Write `comparison.html` and `comparison.json` into an existing folder, replacing earlier ones.

    Returns:
        The path of the page.
    """
    page = folder / COMPARISON_PAGE
    write_text(page, render_comparison(facts))
    write_facts(facts, folder / COMPARISON_JSON)
    return page


def _requirement_row(one: RequirementFacts) -> tuple[TextCell, ...]:
    yes = {True: "holds", False: "does not hold", None: UNKNOWN}
    value, bound, margin = _requirement_numbers(one)
    return (
        TextCell(one["requirement"]),
        TextCell(value),
        TextCell(bound),
        TextCell(margin, brackets(one["margin"], places=_number_places(one["value"], one["bound"]))),
        TextCell(yes[one["holds"]]),
        TextCell(yes[one["holds_confidently"]]),
    )


def _requirement_numbers(one: RequirementFacts) -> tuple[str, str, str]:
    """The value, the bound and the margin of a requirement, in the unit of its metric."""
    value, bound, margin = one["value"], one["bound"], one["margin"]["value"]
    measure = COST_MEASURES.get(one["metric"])
    if measure and margin is not None:
        return measure.shown(value), measure.shown(bound), f"{'−' if margin < 0 else '+'}{measure.shown(abs(margin))}"
    places = _number_places(value, bound)
    return fixed(value, places), fixed(bound, places), signed(margin, places)


def _score_row(facts: ComparisonFacts, row: ComparisonRow) -> tuple[TextCell, ...]:
    candidate, *others = facts["systems"]
    places = _places(row)
    cells = [_interval_cell(row["scores"].get(candidate, NOT_MEASURED), places)]
    for other in others:
        lead = row["advantages"].get(other, NOT_MEASURED)
        cells += [
            _interval_cell(row["scores"].get(other, NOT_MEASURED), places),
            TextCell(signed(lead["value"], places), brackets(lead, places=places) or lead.get("note", "")),
        ]
    return TextCell(with_direction(row["label"], higher_is_better=row["higher_is_better"])), *cells


def _interval_cell(own: Interval, places: int) -> TextCell:
    return TextCell(fixed(own["value"], places), brackets(own, places=places))


def _places(row: ComparisonRow) -> int:
    """Decimal places of a metric: two, so that a tenth of a point is seen; three where all scores are small."""
    return _number_places(*(own["value"] for own in row["scores"].values() if own["value"] is not None))


def _number_places(*values: float) -> int:
    return 3 if max(map(abs, values), default=0) < SMALL_SCALE else 2
