"""How much truncating the teacher's distributions changes the gradient of each objective, and which ones are refused.

Measured by benchmarks/logprob_bytes.py on 32,000 tokens, with a student at 0.44 nats from its teacher; docs/methods.md
has more of it. A truncation that was not measured counts as the next one that keeps less.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from understudy.config.distil import Distil, SparseLogprobs
from understudy.config.model_sections import AnyTeacher, EndpointTeacher
from understudy.config.objectives import JSD, TAID, AnyObjective, ForwardKL, ReverseKL, SkewKL, SkewReverseKL

LIMIT = 10.0
"""The largest error of the gradient that is accepted, in percent of its norm."""

MEASURED = ((2, 1.0), (4, 1.0), (8, 1.0), (14, 0.99), (32, 1.0), (64, 1.0), (256, 1.0), (1024, 1.0))
"""`top` and `top_p`."""
TOP_8 = MEASURED.index((8, 1.0))
LEAST_MASS = 0.9
"""Of `top_p`, below which at least 8 tokens count as 2: with forward KL, 14 tokens and 0.9 have an error of 7.5 %, 14
tokens and 0.5 of 28 %, as 2 tokens."""
ErrorRow = tuple[float, float, float, float, float, float, float, float]
FORWARD_KL_ERRORS: ErrorRow = (28.0, 16.7, 9.8, 5.6, 3.0, 1.7, 0.5, 0.1)
REVERSE_KL_ERRORS: ErrorRow = (47.3, 37.4, 27.5, 21.3, 13.0, 8.6, 3.6, 1.3)
ERRORS: Mapping[str, Mapping[float, ErrorRow]] = MappingProxyType(
    {
        "forward_kl": {0: FORWARD_KL_ERRORS},
        "reverse_kl": {0: REVERSE_KL_ERRORS},
        "tvd": {0: (35.9, 23.7, 14.8, 11.4, 6.0, 4.4, 2.0, 0.8)},
        "jsd": {
            0: FORWARD_KL_ERRORS,
            0.1: (28.6, 17.6, 10.5, 6.2, 3.4, 2.0, 0.6, 0.1),
            0.3: (30.6, 19.6, 12.2, 7.6, 4.3, 2.6, 0.9, 0.2),
            0.5: (33.0, 22.0, 14.3, 9.2, 5.5, 3.4, 1.3, 0.4),
            0.7: (36.3, 25.3, 17.0, 11.4, 7.0, 4.5, 1.8, 0.6),
            0.9: (41.5, 30.7, 21.8, 15.2, 9.5, 6.3, 2.6, 0.9),
            1: REVERSE_KL_ERRORS,
        },
        "skew_kl": {
            0: FORWARD_KL_ERRORS,
            0.1: (29.6, 18.6, 11.4, 7.0, 3.9, 2.3, 0.7, 0.2),
            0.3: (34.5, 23.3, 15.3, 10.1, 6.0, 3.9, 1.4, 0.4),
            0.5: (40.4, 29.0, 20.0, 13.8, 8.6, 5.7, 2.3, 0.7),
            0.7: (47.9, 36.6, 26.5, 18.8, 12.1, 8.1, 3.4, 1.2),
            0.9: (59.0, 49.3, 37.5, 28.4, 18.0, 12.0, 5.2, 2.0),
        },
        "skew_reverse_kl": {
            0: REVERSE_KL_ERRORS,
            0.01: (45.3, 35.1, 25.6, 18.6, 11.7, 7.7, 3.2, 1.2),
            0.1: (37.7, 26.5, 18.0, 12.1, 7.5, 4.9, 1.9, 0.6),
            0.3: (30.7, 19.4, 11.9, 7.4, 4.2, 2.6, 0.8, 0.2),
            0.5: (27.6, 16.3, 9.4, 5.5, 2.9, 1.7, 0.5, 0.2),
            0.9: (28.5, 15.8, 9.0, 5.8, 3.4, 2.2, 0.8, 0.3),
        },
        "taid": {
            0.1: (44.8, 34.8, 25.1, 18.7, 11.4, 7.4, 3.1, 1.1),
            0.2: (42.3, 32.3, 22.9, 16.3, 9.9, 6.4, 2.6, 0.9),
            0.4: (37.7, 27.4, 18.9, 12.3, 7.4, 4.7, 1.8, 0.6),
            0.6: (33.6, 22.9, 15.2, 9.3, 5.4, 3.4, 1.2, 0.4),
            0.8: (30.3, 19.2, 12.0, 7.0, 3.9, 2.3, 0.8, 0.2),
            1: FORWARD_KL_ERRORS,
        },
    }
)
"""Objective -> its setting -> error of the gradient at each of `MEASURED`, in percent; linear in between."""
TEMPERATURE: Mapping[float, ErrorRow] = MappingProxyType(
    {
        0.5: (63.4, 55.9, 48.7, 42.4, 34.5, 28.8, 19.4, 9.5),
        0.8: (38.1, 29.3, 23.2, 19.1, 14.9, 11.9, 7.0, 3.2),
        0.9: (31.4, 21.2, 14.7, 10.8, 7.8, 6.1, 3.4, 1.6),
        1: FORWARD_KL_ERRORS,
        1.1: (29.1, 18.7, 13.2, 10.6, 7.7, 6.0, 3.3, 1.5),
        1.2: (34.0, 25.5, 20.8, 18.6, 14.0, 11.0, 6.2, 2.8),
        1.5: (57.4, 51.0, 45.1, 42.3, 30.8, 24.1, 13.1, 6.0),
        2: (100.5, 93.4, 83.4, 79.6, 55.7, 42.9, 22.9, 10.2),
        4: (340.7, 320.4, 279.4, 255.9, 178.0, 135.0, 72.2, 34.1),
    }
)
"""The same for the temperature of forward KL: it divides the log-probability of the rest, not of each token there."""


def truncation_conflicts(distil: Distil, teacher: AnyTeacher) -> Iterator[str]:
    """Objectives whose gradient changes too much where the teacher's distributions are truncated."""
    logprobs = distil.teacher_logprobs
    if not isinstance(logprobs, SparseLogprobs):
        return
    top = min(logprobs.top, teacher.endpoint.top_logprobs + 1) if isinstance(teacher, EndpointTeacher) else logprobs.top
    measured = measured_truncation(top, logprobs.top_p)
    if measured is None:
        return
    if isinstance(teacher, EndpointTeacher) and logprobs.top_p >= LEAST_MASS:
        measured = max(measured, TOP_8)  # many return 5 tokens and never more: there is nothing to choose
    measured_top, measured_top_p = MEASURED[measured]
    for field in ("objective", "student_samples_objective"):
        objective = getattr(distil, field)
        errors = gradient_errors(objective) if objective else None
        if errors and errors[measured] > LIMIT:
            yield (
                f"distil.{field} is {_described(objective)}, and distil.teacher_logprobs keeps top {top}, top_p "
                f"{logprobs.top_p:g}: at top {measured_top}, top_p {measured_top_p:g} a gradient error of "
                f"{errors[measured]:.0f} % was measured (limit {LIMIT:.0f} %); "
                + (_endpoint_remedy(logprobs.top_p) if isinstance(teacher, EndpointTeacher) else _remedy(errors))
            )


def measured_truncation(top: int, top_p: float) -> int | None:
    """The place in `MEASURED` of the truncation that keeps most, but no more than this one.

    At least 8 tokens count as 8 down to `LEAST_MASS`. 0 where all keep more, whose error is then a lower bound, and
    above the limit for every objective that was measured; None where more is kept than was measured.
    """
    if top > MEASURED[-1][0] and top_p == 1:
        return None
    least = TOP_8 if top >= MEASURED[TOP_8][0] and top_p >= LEAST_MASS else 0
    return max((n for n, (own, mass) in enumerate(MEASURED) if own <= top and mass <= top_p), default=least)


def gradient_errors(objective: AnyObjective) -> ErrorRow | None:
    """The error of an objective's gradient at each of `MEASURED`, in percent; None where it was not measured.

    The error is ‖g' - g‖ / ‖g‖ of the gradients with respect to the student's logits at all positions, g' on the kept
    tokens and their rest, g on the whole vocabulary.
    """
    rows = ERRORS.get(objective.kind)
    if rows is None:
        return None
    own = _between(rows, _setting(objective))
    if isinstance(objective, ForwardKL | ReverseKL | JSD) and objective.temperature != 1:
        hot = _between(TEMPERATURE, objective.temperature)
        own = _row(max(pair) for pair in zip(own, hot, strict=True))
    return own


def _setting(objective: AnyObjective) -> float:
    """The setting that `ERRORS` depends on; TAID is furthest from forward KL at its start."""
    match objective:
        case JSD(beta=value) | SkewKL(alpha=value) | SkewReverseKL(alpha=value) | TAID(start=value):
            return value
    return 0.0


def _between(rows: Mapping[float, ErrorRow], setting: float) -> ErrorRow:
    lower = max((one for one in rows if one <= setting), default=min(rows))
    upper = min((one for one in rows if one >= setting), default=max(rows))
    weight = (setting - lower) / (upper - lower) if upper > lower else 0.0
    return _row((1 - weight) * low + weight * high for low, high in zip(rows[lower], rows[upper], strict=True))


def _row(errors: Iterator[float]) -> ErrorRow:
    first, second, third, fourth, fifth, sixth, seventh, last = errors
    return first, second, third, fourth, fifth, sixth, seventh, last


def _described(objective: AnyObjective) -> str:
    settings = objective.model_dump(exclude={"kind"}, exclude_defaults=True)
    return objective.kind + "".join(f" with {name} {value:g}" for name, value in settings.items())


def _endpoint_remedy(top_p: float) -> str:
    if top_p < LEAST_MASS:
        return f"set distil.teacher_logprobs.top_p to {LEAST_MASS:g} or more"
    return "an endpoint returns no more; use objective forward_kl, or method extreme_fine_tune"


def _remedy(errors: ErrorRow) -> str:
    dense = "set teacher_logprobs={kind: dense}"
    enough = next((n for n, error in enumerate(errors) if error <= LIMIT), None)
    if enough is None:
        return dense
    top, top_p = MEASURED[enough]
    return (
        f"set teacher_logprobs={{kind: sparse, top: {top}, top_p: {top_p:g}}} ({errors[enough]:.0f} %), or {dense[4:]}"
    )
