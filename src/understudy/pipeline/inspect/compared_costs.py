"""What the systems of a comparison cost to run, from the reports of their runs."""

from collections.abc import Mapping

from understudy.pipeline.inspect.compared_systems import ComparedSystem
from understudy.report.comparison_costs import COST_MEASURES
from understudy.report.comparison_facts import CostRow
from understudy.report.facts import system_named


def cost_of(system: ComparedSystem, measure: str) -> float | None:
    """One number of a system; None where its run has none, and for a file of outputs."""
    found = system_named(system.run.facts, system.run_system) if system.run else None
    return COST_MEASURES[measure].read(system.run.facts, found) if system.run and found else None


def cost_rows(systems: Mapping[str, ComparedSystem]) -> dict[str, CostRow]:
    """The measures that are known for some system."""
    rows: dict[str, CostRow] = {
        name: {
            "label": measure.label,
            "higher_is_better": measure.higher_is_better,
            "values": {system: cost_of(own, name) for system, own in systems.items()},
        }
        for name, measure in COST_MEASURES.items()
    }
    return {name: row for name, row in rows.items() if any(value is not None for value in row["values"].values())}


def measured_alike(one: ComparedSystem, other: ComparedSystem) -> bool:
    """Whether the speed of both was measured on one machine under the same conditions."""
    return _conditions(one) == _conditions(other)


def _conditions(system: ComparedSystem) -> tuple[str | None, str | None] | None:
    facts = system.run.facts if system.run else None
    return (facts.get("machine"), facts.get("benchmark_conditions")) if facts else None
