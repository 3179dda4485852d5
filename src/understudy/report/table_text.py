"""A study's results in sentences: the headline, the decision of each paper stage, and the limitations."""

from understudy.report.content_facts import Interval
from understudy.report.facts import FINE_TUNED
from understudy.report.formatting import brackets, fixed, join_nonempty, percent_with_interval, signed, system_label
from understudy.report.paper import PAPER_CHOICES
from understudy.report.table_facts import Decision, Option, ResultsTable, enough_cells


def headline(results: ResultsTable) -> str:
    """The row with the best dev mean, among the rows with enough finished cells."""
    rows = results["summary"]
    finished, total = sum(row["finished"] for row in rows), sum(row["total"] for row in rows)
    progress = "" if finished == total else f" {finished} of {count_cells(total)} are finished."
    most = max((row["finished"] for row in rows), default=0)
    known = [
        row
        for row in rows
        if row["dev"]["all"]["mean"]["value"] is not None and enough_cells(row["finished"], most=most)
    ]
    if not known:
        return f"{results['study']}: no share of the gap is known yet.{progress}"
    best = max(known, key=lambda row: row["dev"]["all"]["mean"]["value"] or 0)
    amount = percent_with_interval(best["dev"]["all"]["mean"])
    tasks = len(best["dev"]["tasks"])
    over = f"mean over metrics, seeds and {tasks} tasks" if tasks > 1 else "mean over metrics and seeds"
    return (
        f"{best['method']} closes {amount} of the gap between fine-tuned student and teacher on dev ({over}).{progress}"
    )


def decision_text(decision: Decision) -> str:
    """The option that a paper stage keeps, its lead over the runner-up, and the paper's choice."""
    choice = PAPER_CHOICES.get(decision["paper_stage"])
    paper = f"The paper keeps {choice}." if choice else ""
    if decision["kept"] is None:
        return join_nonempty(_no_decision(decision), paper)
    return join_nonempty(_kept(decision, decision["kept"]), _lead(decision), _not_compared(decision), paper)


def limitations(results: ResultsTable) -> list[str]:
    """Limitations of the results, each a sentence."""
    seeds = {(row["method"], row["task"]): 0 for row in results["rows"]}
    for row in results["rows"]:
        seeds[row["method"], row["task"]] += 1
    failed = sum(bool(cell["error"]) for cell in results["missing"])
    not_run = len(results["missing"]) - failed
    notes = []
    if seeds and min(seeds.values()) == 1:
        notes.append(
            "A method with one seed has an interval over examples only, without the variation between seeds; "
            "another seed may give a different result."
        )
    if failed:
        notes.append(f"{count_cells(failed)} failed; the table of cells shows the errors.")
    if not_run:
        notes.append(f"{count_cells(not_run)} still to run; the means cover the finished cells.")
    return notes


def count_cells(number: int) -> str:
    """A number of cells with its noun."""
    return f"{number} cell" if number == 1 else f"{number} cells"


def _no_decision(decision: Decision) -> str:
    if decision["cells"]:
        return f"No decision: the teacher leads in no metric of {count_cells(decision['cells'])}."
    return "No decision yet: there is no cell that all options have finished."


def _kept(decision: Decision, method: str) -> str:
    kept = _option(decision, method)
    unit = "of the gap on dev" if decision["by"] == "gap_closed" else "in the primary metric on dev"
    unchanged = " (unchanged)" if kept["carried"] else ""
    value = _value(decision, kept["dev"])
    return f"Keeps {_method_label(method)}{unchanged}: {value} {unit}, over {count_cells(decision['cells'])}."


def _lead(decision: Decision) -> str:
    if "runner_up" not in decision:
        return "There is no other option to compare with."
    runner_up = _option(decision, decision["runner_up"])
    noise = "within noise (the interval includes 0)" if decision["within_noise"] else "beyond noise"
    return (
        f"The runner-up is {_method_label(runner_up['method'])} with {_value(decision, runner_up['dev'])}; "
        f"the lead of {_lead_value(decision, decision['lead'])} is {noise}."
    )


def _not_compared(decision: Decision) -> str:
    started = [option for option in decision["options"] if option["dev"]["value"] is None and option["finished"]]
    names = ", ".join(f"{_method_label(option['method'])} ({count_cells(option['finished'])})" for option in started)
    return f"Not compared, because too few cells are finished: {names}." if names else ""


def _option(decision: Decision, method: str) -> Option:
    return next(option for option in decision["options"] if option["method"] == method)


def _value(decision: Decision, value: Interval) -> str:
    if decision["by"] == "score":
        return join_nonempty(fixed(value["value"], 1), brackets(value, places=1))
    return percent_with_interval(value)


def _lead_value(decision: Decision, lead: Interval) -> str:
    if decision["by"] == "score":
        return join_nonempty(signed(lead["value"], 1), brackets(lead, places=1))
    points = None if lead["value"] is None else 100 * lead["value"]
    return join_nonempty(signed(points, 0), "points", brackets(lead, scale=100, places=0))


def _method_label(method: str) -> str:
    return system_label(method).lower() if method == FINE_TUNED else method
