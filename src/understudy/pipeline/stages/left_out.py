"""What a run does not use because of its length, for its report: counts, reasons and what to set."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from understudy.pipeline.stages.api_pool import ApiPoolFacts, ApiPoolStage
from understudy.pipeline.stages.examples import ExamplesFacts, ExamplesStage
from understudy.pipeline.stages.student import StudentStage
from understudy.pipeline.stages.training import TrainingFacts
from understudy.records import LeftOutReason, TextGenerator
from understudy.report.content_facts import LeftOutFacts
from understudy.store.manifest import Manifest, parse

MOST_LEFT_OUT = 0.1
"""Share above which there is a warning, as for positions without a teacher distribution and for failed requests."""
TEXTS: Mapping[TextGenerator, str] = {
    "gold": "gold targets",
    "teacher": "pseudo-targets",
    "student": "student samples",
    "api": "pseudo-targets",
}
LEFT_OUT_REASONS: Mapping[LeftOutReason, tuple[str, str]] = {
    "source": (
        "belong to inputs that are over the student's limits, and are left out",
        "raise task.max_source_tokens and task.max_target_tokens, or use a student with more positions",
    ),
    "student_positions": (
        "are longer in the student's tokens than it has positions, and are left out",
        "use a student with more positions; one built from scratch has more if task.max_target_tokens is raised",
    ),
    "teacher_positions": (
        "are longer in the teacher's tokens than it has positions, and have no teacher distributions at their ends",
        "lower task.max_target_tokens or task.max_source_tokens, or use a teacher with more positions",
    ),
}
"""Reason -> why a text is left out, and what to do."""
OVER_LIMITS = (
    "are over the length limits, and are left out",
    "raise task.max_source_tokens and task.max_target_tokens",
)


def left_out_facts(manifests: Mapping[Path, Manifest]) -> list[LeftOutFacts]:
    """What the stages of a run leave out; of what several count, such as both examples stages, the largest share."""
    found: dict[tuple[str, str], LeftOutFacts] = {}
    for one in (one for path, manifest in manifests.items() for one in _of_stage(path, manifest)):
        own = found.setdefault((one["what"], one["reason"]), one)
        if one["count"] * own["of"] > own["count"] * one["of"]:
            found[one["what"], one["reason"]] = one
    return list(found.values())


def left_out_warnings(found: Sequence[LeftOutFacts]) -> Iterator[str]:
    """A sentence for each that leaves out a large share."""
    for own in found:
        if own["count"] > MOST_LEFT_OUT * own["of"]:
            yield f"{own['count']} of {own['of']} {own['what']} {own['reason']}; {own['remedy']}."


def _of_stage(path: Path, manifest: Manifest) -> Iterator[LeftOutFacts]:
    if manifest.stage == ExamplesStage.name:
        examples = parse(ExamplesFacts, manifest.facts, path)
        for split, count in examples.dropped.items():
            yield from _if_any(f"{split} examples", count, examples.counts[split] + count, OVER_LIMITS)
    elif manifest.stage == ApiPoolStage.name:
        pool = parse(ApiPoolFacts, manifest.facts, path)
        yield from _if_any(TEXTS["api"], pool.too_long, pool.texts + pool.too_long, OVER_LIMITS)
    elif manifest.stage == StudentStage.name:
        for own in parse(TrainingFacts, manifest.facts, path).left_out:
            yield from _if_any(TEXTS[own.generator], own.count, own.of, LEFT_OUT_REASONS[own.reason])


def _if_any(what: str, count: int, of: int, why: tuple[str, str]) -> Iterator[LeftOutFacts]:
    if count:
        yield {"what": what, "count": count, "of": of, "reason": why[0], "remedy": why[1]}
