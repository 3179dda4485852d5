"""Compares a candidate with other systems on one test set, and judges requirements on it.

The metrics, the seed and the number of resamples are those of the first run, so that its numbers are those of its
report. `compared_systems` opens the systems, `compared_metrics` scores them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from understudy.errors import ConfigError, unknown_name
from understudy.evaluation.bootstrap import resample_weights
from understudy.evaluation.metrics import METRICS, result_name
from understudy.evaluation.requirements import Requirement, parse_requirement
from understudy.pipeline.inspect.compared_costs import cost_rows, measured_alike
from understudy.pipeline.inspect.compared_metrics import (
    OUTPUT_METRICS,
    LoadedMetrics,
    default_metrics,
    load_compared_metrics,
    other_settings,
    row_of,
    tallies_of_systems,
)
from understudy.pipeline.inspect.compared_systems import (
    ComparedSources,
    ComparedSystem,
    load_systems,
    open_sources,
    split_digest,
)
from understudy.pipeline.inspect.judged_requirements import judged
from understudy.pipeline.stages.predictions import SCORED_SPLITS
from understudy.pipeline.stages.scores import FEW
from understudy.progress import NoProgress, Progress
from understudy.report.comparison_costs import COST_MEASURES
from understudy.report.comparison_facts import ComparedSystemFacts, ComparisonFacts, ComparisonRow, RequirementFacts
from understudy.report.comparison_page import requirement_holds, write_comparison
from understudy.report.facts import FINE_TUNED, TEACHER, score_of, system_named
from understudy.store.disk import disk_errors, make_folder

QUIET = NoProgress()
RESAMPLES, SEED = 1000, 0
"""Of a comparison of files, which have no recipe."""
PER_COMPARISON = (
    "Each interval is that of one comparison. They are not corrected for their number: of 20 differences between "
    "equally good systems, one interval without 0 is expected."
)
UNDIRECTED = "distinct_"
"""Higher values of metrics with this prefix are not simply better: either bound may be required."""


@dataclass(frozen=True)
class RunComparison:
    """A comparison and its page."""

    facts: ComparisonFacts
    page: Path | None
    """`comparison.html`; None where no folder was named."""

    @property
    def holds(self) -> bool | None:
        """Whether all requirements hold; None without requirements."""
        return self.facts["holds"]


def compare(
    systems: Sequence[str | Path],
    *,
    require: Sequence[str] = (),
    confident: bool = False,
    references: str | Path | None = None,
    metrics: Sequence[str] = (),
    split: str = "test",
    out: str | Path | None = None,
    progress: Progress = QUIET,
    allow_code: bool = False,
) -> RunComparison:
    """Paired differences between a candidate and other systems, with intervals, over metrics, outputs and costs.

    Args:
        systems: folders of finished runs and files of outputs, as `[NAME=]PATH[:SYSTEM]`, the candidate first. One run
            alone is compared with its teacher and its fine-tuned student.
        require: requirements on the candidate, such as `bleu >= teacher - 1`.
        confident: whether requirements are judged by intervals instead of point estimates.
        references: a labeled file, for outputs without a run.
        metrics: instead of those of the first run's task.
        split: dev or test.
        out: the folder of the page and its JSON; None: nothing is written.
        progress: is informed about empty outputs.
        allow_code: whether metrics of the user's own may be imported.

    Raises:
        ConfigError: for an unknown split, metric or system, or a requirement of another form.
        DataError: if a path does not exist or a file cannot be read.
        EvaluationError: if the systems were evaluated on different test sets, or a requirement cannot be judged.
        StoreError: if a folder holds no finished run, or its predictions were deleted or are damaged.
    """
    if split not in SCORED_SPLITS:
        raise unknown_name("split", split, SCORED_SPLITS)
    if not systems:
        raise ConfigError("a comparison needs a system; give the folder of a finished run or a file of outputs")
    sources = open_sources(systems, references, split=split, log=progress.log)
    loaded = load_compared_metrics(sources, metrics or default_metrics(sources), allow_code=allow_code)
    directions = _directions(loaded)
    requirements = [parse_requirement(one, metrics=directions, systems=sources.names) for one in require]
    required = [one.metric for one in requirements if one.metric in METRICS and one.metric not in OUTPUT_METRICS]
    extra = [name for name in dict.fromkeys(required) if name not in loaded]
    loaded = {**loaded, **load_compared_metrics(sources, extra, allow_code=allow_code)}
    facts = _facts(sources, requirements, loaded, split=split, confident=confident)
    if out is None:
        return RunComparison(facts, None)
    make_folder(Path(out))
    with disk_errors(Path(out)):
        return RunComparison(facts, write_comparison(facts, Path(out)))


def _directions(loaded: LoadedMetrics) -> dict[str, bool | None]:
    """Every name that a requirement may bound -> whether higher values are better; None if neither are."""
    scored = {**METRICS, **OUTPUT_METRICS, **{name: metric for name, (metric, _) in loaded.items()}}
    metrics = {name: None if name.startswith(UNDIRECTED) else own.higher_is_better for name, own in scored.items()}
    return {**metrics, **{name: own.higher_is_better for name, own in COST_MEASURES.items()}}


def _facts(
    sources: ComparedSources,
    requirements: Sequence[Requirement],
    loaded: LoadedMetrics,
    *,
    split: str,
    confident: bool,
) -> ComparisonFacts:
    run, other_of = sources.first_run, {one: sources.names[one.system] for one in requirements if one.system}
    systems = load_systems(sources, list(dict.fromkeys((*_compared(sources), *other_of.values()))), split)
    candidate = next(iter(systems.values()))
    examples = len(candidate.outputs.predictions)
    resamples, seed = (run.recipe.evaluation.resamples, run.recipe.seed) if run else (RESAMPLES, SEED)
    weights_RN = resample_weights(examples, resamples=resamples, seed=seed)
    tallies = tallies_of_systems(loaded, systems)
    primary = _primary_metric(sources, loaded)
    shown = sorted((metric for metric, _ in loaded.values()), key=lambda own: own.name != primary)
    rows = {metric.name: row_of(metric, tallies, weights_RN) for metric in shown}
    judgements = [judged(one, other_of.get(one), systems, tallies, weights_RN) for one in requirements]
    return {
        "candidate": candidate.name,
        "primary_metric": primary,
        "split": split,
        "examples": examples,
        "digest": split_digest(candidate),
        "resamples": resamples,
        "seed": seed,
        "systems": {name: _system(own, candidate) for name, own in systems.items()},
        "metrics": rows,
        "outputs": {
            name: row_of(metric, tallies, weights_RN) for name, metric in OUTPUT_METRICS.items() if name not in loaded
        },
        "costs": cost_rows(systems),
        "requirements": judgements,
        "confident": confident,
        "holds": _all_hold(judgements, confident=confident),
        "notes": _notes(systems, rows, split),
    }


def _compared(sources: ComparedSources) -> tuple[str, ...]:
    """The systems that are shown without being named in a requirement."""
    run = sources.first_run
    if run is None or len(sources.listed) > 1:
        return sources.listed
    own = [sources.names[name] for name in (TEACHER, FINE_TUNED) if name in run.systems]
    return tuple(dict.fromkeys((*sources.listed, *own)))


def _primary_metric(sources: ComparedSources, loaded: LoadedMetrics) -> str:
    own = result_name(sources.first_run.recipe.task.primary_metric) if sources.first_run else ""
    return own if own in loaded else next(iter(loaded))


def _system(own: ComparedSystem, candidate: ComparedSystem) -> ComparedSystemFacts:
    pairs = zip(own.outputs.predictions, candidate.outputs.predictions, strict=True)
    return {
        "origin": own.origin,
        "decoding": own.decoding,
        "equal_texts": sum(one.text == other.text for one, other in pairs),
    }


def _all_hold(judgements: Sequence[RequirementFacts], *, confident: bool) -> bool | None:
    return all(requirement_holds(one, confident=confident) for one in judgements) if judgements else None


def _notes(systems: Mapping[str, ComparedSystem], rows: Mapping[str, ComparisonRow], split: str) -> list[str]:
    """Limitations of the comparison."""
    candidate, *others = systems.values()
    notes = [PER_COMPARISON]
    if (examples := len(candidate.outputs.predictions)) < FEW:
        notes.append(f"There are {examples} examples: a bootstrap over so few gives too narrow intervals.")
    if any(own.run and own.run.facts.get("references_by_teacher") for own in systems.values()):
        notes.append("A teacher wrote the references: scores are agreement with it, and do not measure quality.")
    if prompts := [own.name for own in others if own.prompt != candidate.prompt]:
        notes.append(
            f"{candidate.name} has another prompt than {', '.join(prompts)}: what a system's own prompt states does "
            "not count as invented."
        )
    if apart := [own.name for own in others if own.run and candidate.run and not measured_alike(own, candidate)]:
        notes.append(
            f"Speed and memory of {candidate.name} were measured on another machine or under other conditions than "
            f"those of {', '.join(apart)}, so they cannot be compared."
        )
    for own in systems.values() if split == "test" else ():
        notes += _unlike_report(own, rows)
    return notes


def _unlike_report(system: ComparedSystem, rows: Mapping[str, ComparisonRow]) -> list[str]:
    """A sentence for each metric that a system's own report computed with other settings."""
    found = system_named(system.run.facts, system.run_system) if system.run else None
    reported = {metric: score["signature"] for metric in rows if (score := score_of(found, metric))}
    return [
        f"{system.name} in {rows[metric]['label']} is not the score of its report, which had another signature (report "
        f"and here): {', '.join(differences)}."
        for metric, signature in reported.items()
        if (now := rows[metric]["signatures"].get(system.name)) and (differences := other_settings(signature, now))
    ]
