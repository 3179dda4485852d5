"""The HTML report of a run: one page that needs no network.

`verdict.py` and `tables.py` provide the text, `figures.py` the drawings. The template escapes all text, and the
page's content security policy allows no script but `page.js`.
"""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from understudy.report import tables
from understudy.report.checks import teacher_checks
from understudy.report.content_tables import (
    consistency_table,
    health_table,
    layer_order_table,
    left_out_table,
    teacher_logprobs_table,
    token_map_table,
    vocabulary_table,
)
from understudy.report.costs import cost_numbers, cost_sentences
from understudy.report.deferral import confidence_sentences, deferral_table
from understudy.report.deferral_figures import deferral_figures
from understudy.report.facts import Facts, higher_is_better, metric_label, metrics_of, write_facts
from understudy.report.figures import pool_figures, result_figures
from understudy.report.templates import render_template, trusted_figures, trusted_file
from understudy.report.verdict import key_numbers, verdict, verdict_kind
from understudy.store.disk import write_text

REPORT_PAGE = "report.html"
REPORT = "report.json"
GOOD = ("better", "near_teacher", "above_teacher")
"""The kinds of verdict that the page shows in green."""
ITEM_ERRORS = "with facts missing or invented"


def render(facts: Facts) -> str:
    """The complete page. Equal facts give equal pages.

    Args:
        facts: the results of the run; the page leaves out sections without facts.
    """
    script, api = trusted_file("page.js"), facts.get("api_responses")
    return render_template(
        "page.html.jinja",
        facts=facts,
        verdict=verdict(facts),
        headline_class=_headline_class(facts),
        tiles=[*key_numbers(facts), *cost_numbers(facts)],
        gap_notes=tables.gap_notes(facts),
        checks=teacher_checks(facts),
        tables=_tables(facts),
        lower_is_better=any(not higher_is_better(facts, metric) for metric in metrics_of(facts)),
        cost_sentences=cost_sentences(facts["costs"], facts["method"], api) if "costs" in facts else [],
        example_tags=_example_tags(facts),
        item_errors=ITEM_ERRORS,
        content={"consistency": consistency_table(facts), "health": health_table(facts)},
        confidence={
            "sentences": confidence_sentences(facts),
            "table": deferral_table(facts),
            "figures": trusted_figures(deferral_figures(facts)),
        },
        example_label=_example_label(facts),
        result_figures=trusted_figures(result_figures(facts)),
        pool_figures=trusted_figures(pool_figures(facts)),
        script=script,
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
    )


def write_report(facts: Facts, folder: Path) -> Path:
    """Write `report.html` and `report.json`.

    Args:
        facts: the results of the run.
        folder: an existing folder; earlier reports in it are replaced.

    Returns:
        The path of the page.
    """
    page = folder / REPORT_PAGE
    write_text(page, render(facts))
    write_facts(facts, folder / REPORT)
    return page


def _headline_class(facts: Facts) -> str:
    """The class of the verdict: a good result is neutral where outputs agree with sources less than the teacher's."""
    kind, consistency = verdict_kind(facts), facts.get("consistency")
    return "mixed" if kind in GOOD and consistency and consistency["worse"] else kind


def _tables(facts: Facts) -> dict[str, tables.TextTable]:
    return {
        "quality": tables.quality_table(facts),
        "costs": tables.costs_table(facts),
        "training": tables.training_table(facts),
        "stages": tables.stages_table(facts),
        "vocabulary": vocabulary_table(facts),
        "token_map": token_map_table(facts),
        "data": tables.data_table(facts),
        "left_out": left_out_table(facts),
        "teacher_logprobs": teacher_logprobs_table(facts),
        "pool": tables.pool_table(facts.get("pool", {})),
        "api_responses": tables.api_responses_table(facts),
        "layer_order": layer_order_table(facts),
    }


def _example_label(facts: Facts) -> str:
    metric = facts.get("example_metric", facts["primary_metric"])
    return facts.get("example_metric_label", metric_label(facts, metric))


def _example_tags(facts: Facts) -> list[str]:
    """What the examples can be filtered by, in the order in which the page shows them."""
    examples = facts.get("examples", [])
    tags = dict.fromkeys(tag for example in examples if (tag := example.get("tag")))
    return [*tags, *([ITEM_ERRORS] if any(example.get("item_errors") for example in examples) else [])]
