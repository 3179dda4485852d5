"""The cost of 1,000 requests to each system, and the number of requests after which the student has paid for itself.

Prices come from the recipe: `teacher.endpoint.price` for an API teacher, `evaluation.price_per_hour` for the machine on
which the local systems run. Without any there are no costs. All amounts are in one currency, which has no name here.
"""

import math
from collections.abc import Sequence

from understudy.report.api_facts import ApiResponseFacts
from understudy.report.confidence_facts import ConfidenceFacts, DeferralFacts
from understudy.report.cost_facts import CostFacts
from understudy.report.facts import TEACHER, Facts, StageFacts, SystemFacts
from understudy.report.formatting import duration, money, system_label, whole
from understudy.report.verdict import KeyNumber

HOUR_S = 3600


def run_costs(
    systems: Sequence[SystemFacts],
    stages: Sequence[StageFacts],
    *,
    method: str,
    machine_per_hour: float | None,
    api: ApiResponseFacts | None,
) -> CostFacts | None:
    """The costs of a run; None if no price is given.

        local system:   1,000 requests = 1,000 / throughput / 3,600 · price per hour
        API teacher:    1,000 requests = 1,000 · mean cost of an answered request
        distillation  = API bill + hours of all stages · price per hour
        break-even    = ⌈distillation / ((teacher - student) per 1,000 requests / 1,000)⌉ requests

    Throughput is that of the report: one process with few threads in full batches, so a machine with more cores that
    is always busy costs less, and one that waits for requests costs more. Stages that ran at the same time count one
    by one, and so do stages that were reused: their student would not exist without them.

    Args:
        systems: with throughput in outputs per second, where it was measured.
        stages: all stages of the run.
        method: the name of the distilled system.
        machine_per_hour: price of the machine; None if unknown.
        api: the requests of an API teacher; None for a local teacher.
    """
    bill = api["spent"] if api else None
    if machine_per_hour is None and bill is None:
        return None
    per_1000 = {
        system["name"]: 1000 / throughput / HOUR_S * machine_per_hour
        for system in systems
        if machine_per_hour is not None and (throughput := system["throughput_per_s"])
    }
    request_cost = api.get("request_cost") if api else None
    if request_cost is not None:
        per_1000[TEACHER] = 1000 * request_cost
    hours = sum(stage["seconds"] for stage in stages) / HOUR_S
    known = machine_per_hour is not None and (api is None or bill is not None)
    distillation = (bill or 0) + hours * (machine_per_hour or 0) if known else None
    return {
        "per_1000": per_1000,
        "machine_per_hour": machine_per_hour,
        "api": bill,
        "hours": hours,
        "distillation": distillation,
        "break_even": _break_even(per_1000.get(TEACHER), per_1000.get(method), distillation),
    }


def with_costs(confidence: ConfidenceFacts, costs: CostFacts | None) -> ConfidenceFacts:
    """The facts of deferral with the cost of 1,000 requests at each point, where both prices are known.

        cost = student + share deferred · teacher, each per 1,000 requests

    The student answers every request, since its own text says how sure it is.
    """
    per_1000 = costs["per_1000"] if costs else {}
    student, teacher = per_1000.get(confidence["system"]), per_1000.get(TEACHER)
    if student is None or teacher is None:
        return confidence

    def priced(point: DeferralFacts) -> DeferralFacts:
        return {**point, "cost": student + point["deferred"] * teacher}

    return {**confidence, "dev": list(map(priced, confidence["dev"])), "test": list(map(priced, confidence["test"]))}


def cost_sentences(costs: CostFacts, method: str, api: ApiResponseFacts | None = None) -> list[str]:
    """What the student cost, when it has paid for itself, and how the costs of requests were measured."""
    return [_distillation(costs), _saving(costs, method), _measured(costs, api)]


def cost_numbers(facts: Facts) -> list[KeyNumber]:
    """The cost of 1,000 requests to the distilled student, for a tile; nothing where it is unknown."""
    costs = facts.get("costs")
    if costs is None or facts["method"] not in costs["per_1000"]:
        return []
    teacher, after = costs["per_1000"].get(TEACHER), costs["break_even"]
    detail = ", ".join(
        (
            *(() if teacher is None else (f"teacher {money(teacher)}",)),
            *(() if after is None else (f"break-even after {whole(after)} requests",)),
        )
    )
    return [KeyNumber("Cost of 1,000 requests", money(costs["per_1000"][facts["method"]]), detail)]


def _break_even(teacher: float | None, student: float | None, distillation: float | None) -> int | None:
    if teacher is None or student is None or distillation is None or student >= teacher:
        return None
    return math.ceil(1000 * distillation / (teacher - student))


def _distillation(costs: CostFacts) -> str:
    if costs["distillation"] is None:
        missing = "evaluation.price_per_hour" if costs["machine_per_hour"] is None else "teacher.endpoint.price"
        return f"The cost of distillation is unknown, because the recipe does not give {missing}."
    api = "" if costs["api"] is None else f"{money(costs['api'])} for requests and "
    machine = f"{duration(costs['hours'] * HOUR_S)} of the machine at {money(costs['machine_per_hour'])} per hour"
    return f"Distillation cost {money(costs['distillation'])}: {api}{machine}."


def _saving(costs: CostFacts, method: str) -> str:
    teacher, student = costs["per_1000"].get(TEACHER), costs["per_1000"].get(method)
    if teacher is None or student is None:
        unknown = " and ".join(system_label(n) for n in (TEACHER, method) if n not in costs["per_1000"]).lower()
        return f"The break-even is unknown, because the cost of requests to the {unknown} is unknown."
    if student >= teacher:
        return "There is no break-even: a request to the student costs no less than one to the teacher."
    saved = f"The student saves {money(teacher - student)} per 1,000 requests"
    if costs["break_even"] is None:
        return f"{saved}."
    return f"{saved}: it has paid for itself after {whole(costs['break_even'])} requests."


def _measured(costs: CostFacts, api: ApiResponseFacts | None) -> str:
    parts = []
    if api and api.get("request_cost") is not None:
        texts = api.get("request_texts", 1)
        each = "" if texts == 1 else f" of {texts} texts each"
        parts.append(f"API teacher: mean cost of the answered requests{each}")
    if costs["machine_per_hour"] is not None:
        parts.append("systems on the machine: its price per hour divided by the measured throughput in full batches")
    return f"Cost of 1,000 requests, in the currency of the prices: {'; '.join(parts)}." if parts else ""
