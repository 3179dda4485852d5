"""Compares the errors of the distilled student with the teacher's: a tile for each metric that counts errors.

The key numbers show the primary metric only. A student may keep its score there and still write wrong facts, so a tile
becomes a warning where the student makes more errors than the teacher. Metrics in which higher is better are in the
table of scores: there a student below the teacher is the rule, and a warning on every page would warn of nothing.
Source consistency has tiles only where the student is worse: it is measured on every task, whatever its metrics.
"""

from typing import NamedTuple

from understudy.report.facts import TEACHER, Facts, ScoreFacts, higher_is_better, metrics_of, score_of, system_named
from understudy.report.formatting import decimal_places, fixed, join_nonempty, metric_heading
from understudy.report.verdict import consistency_numbers


class Check(NamedTuple):
    """A tile: the student's score, the teacher's, and whether the student is clearly worse."""

    label: str
    value: str
    detail: str
    warns: bool


def teacher_checks(facts: Facts) -> list[Check]:
    """A check for each metric, but the primary one, in which lower is better and both systems have a score.

    After them, one for each way in which the student's outputs agree with their sources less than the teacher's.
    """
    checks = []
    for metric in metrics_of(facts):
        own, teacher = (score_of(system_named(facts, name), metric) for name in (facts["method"], TEACHER))
        if own and teacher and metric != facts["primary_metric"] and not higher_is_better(facts, metric):
            places, worse = decimal_places(facts, metric), is_worse(facts, metric, own, teacher)
            detail = join_nonempty(f"teacher {fixed(teacher['value'], places)}", "(worse)" if worse else "")
            checks.append(Check(metric_heading(facts, metric), fixed(own["value"], places), detail, worse))
    return [*checks, *(Check(*number, warns=True) for number in consistency_numbers(facts))]


def is_worse(facts: Facts, metric: str, own: ScoreFacts, teacher: ScoreFacts) -> bool:
    """Whether the student is worse than the teacher beyond the 95 % interval.

    The paired interval of the difference decides. Facts without it have the intervals of both scores, which must not
    overlap: fewer differences are beyond noise by that rule, none by mistake.
    """
    if metric in facts.get("teacher_differences", {}):
        high = facts["teacher_differences"][metric]["high"]
        return high is not None and high < 0
    worse, better = (own["high"], teacher["low"]) if own["higher_is_better"] else (teacher["high"], own["low"])
    return worse is not None and better is not None and worse < better
