"""From answers to proof: scores with intervals, the share of the gap closed, and the facts a report tells."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal, cast

from understudy.config.read import to_yaml
from understudy.config.recipe import Recipe
from understudy.config.task import FilesTask
from understudy.evaluation.bootstrap import advantage, gap_closed, resample_weights, score
from understudy.evaluation.examples import Comparison, best_and_worst
from understudy.evaluation.tally import IntArray, Tally
from understudy.pipeline.bench import Bench
from understudy.pipeline.data import read_data
from understudy.pipeline.measure import answers_of, can_tell, fields_of, tally_of
from understudy.pipeline.teach import STUDENT_SAMPLES
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.show import show_rows
from understudy.report.facts import (
    FINE_TUNED,
    TEACHER,
    BoughtFacts,
    CurvePoint,
    ExampleFacts,
    Facts,
    Interval,
    PoolFacts,
    System,
)
from understudy.store import Finished
from understudy.store.disk import read_json, write_json
from understudy.store.stages import part_of

SHOWN = 12
"""Examples of each kind, and pseudo-targets, that the report shows."""
EXAMPLE_METRIC = "chrf"
"""What tells good answers from bad ones: of the metrics one that means something on a single sentence."""
FEW = 30
"""Test examples below which intervals are not to be believed."""
FACTS = "facts.json"


@dataclass(frozen=True)
class Evidence:
    """The stages a proof is drawn from."""

    data: Finished
    pool: Finished | None
    learned: Mapping[str, Finished]
    """System -> the stage it learned in."""
    answers: Mapping[str, Finished]
    """System -> the stage of what it wrote."""
    efficiency: Finished
    bought: Finished | None = None
    """What a teacher behind an endpoint wrote."""
    signal: Finished | None = None
    """What it told of the pool's tokens."""


def make_proof(bench: Bench, evidence: Evidence, *, eos_id: int | None) -> Finished:
    """The stage that holds the facts of the report."""

    def work(folder: Path) -> Mapping[str, object]:
        bench.progress.log("scores and their intervals")
        write_json(folder / FACTS, _facts(bench.recipe, evidence, eos_id))
        return {}

    inputs = {**evidence.answers, "efficiency": evidence.efficiency}
    settings = {"recipe": to_yaml(bench.recipe)}
    return bench.store.stage("proof", settings=settings, inputs=inputs, work=work)


def facts_of(proof: Finished, stages: Sequence[Finished], *, made: Collection[str] = ()) -> Facts:
    """The facts of a finished proof, with what the run's stages cost, and the parts those were made from.

    Args:
        proof: its stage.
        stages: of the run.
        made: the keys of those, and of the parts, that were not found but made.
    """
    facts = cast(Facts, read_json(proof.folder / FACTS))
    facts["stages"] = [
        {"name": s.manifest.stage, "key": s.key, "seconds": s.manifest.seconds, "reused": s.key not in made}
        for s in _with_parts(stages)
    ]
    return facts


def _with_parts(stages: Sequence[Finished]) -> Iterator[Finished]:
    """The stages, each behind those it was made from that are not told yet: portions of the pool, signals.

    A finished run can do without these parts, so that one that was deleted to make room is passed over.
    """
    told = {stage.key for stage in stages}
    for stage in stages:
        yield from _untold_parts(stage, told)
        yield stage


def _untold_parts(stage: Finished, told: set[str]) -> Iterator[Finished]:
    for key in stage.manifest.inputs.values():
        if key not in told:
            told.add(key)
            if part := part_of(stage, key):
                yield from _untold_parts(part, told)
                yield part


def _facts(recipe: Recipe, evidence: Evidence, eos_id: int | None) -> Facts:
    method, answers = recipe.distil.method, evidence.answers
    tallies: dict[str, dict[str, dict[str, Tally]]] = {
        split: {
            name: {
                m: tally_of(stage, m, split, recipe.task, fields_of(recipe, evidence.data, split, answers=stage))
                for m in recipe.task.metrics
                if can_tell(stage, m, split)
            }
            for name, stage in answers.items()
        }
        for split in ("dev", "test")
    }
    test = tallies["test"]
    compared = [m for m in recipe.task.metrics if FINE_TUNED in answers and m in test[TEACHER]]
    examples = len(test[method][recipe.task.primary_metric].ids)
    weights_RN = resample_weights(examples, resamples=recipe.evaluation.resamples, seed=recipe.seed)
    costs = evidence.efficiency.manifest.facts
    facts: Facts = {
        "task": recipe.name,
        "primary_metric": recipe.task.primary_metric,
        "systems": [
            _system(name, test[name], weights_RN, cast(Mapping[str, Any], costs.get(name, {}))) for name in answers
        ],
        "gap_closed": {metric: _gap(test, metric, method, weights_RN) for metric in compared},
        "method": method,
        "run": recipe.name,
        "seed": recipe.seed,
        "split": "test",
        "recipe": to_yaml(recipe),
        "differences": {
            metric: _lead(test, metric, method, weights_RN) for metric in recipe.task.metrics if FINE_TUNED in answers
        },
        "dev": {name: {m: own.value() for m, own in of.items()} for name, of in tallies["dev"].items()},
        "curves": {name: _curve(stage, recipe.task.primary_metric) for name, stage in evidence.learned.items()},
        "pool": _pool_facts(recipe, evidence, eos_id),
        "examples": _examples(recipe, answers),
        "example_metric": EXAMPLE_METRIC,
        "data": _counts(evidence.data),
        "how": str(cast(Mapping[str, Any], costs[method])["how"]),
        "notes": _notes(recipe, evidence.learned, examples),
        "versions": dict(evidence.efficiency.manifest.versions),
    }
    if _has_no_gold(recipe):
        facts["no_gold"] = True
    if evidence.bought and evidence.pool:
        facts["bought"] = _bought(evidence.bought, evidence.pool, evidence.signal)
    return facts


def _system(name: str, tallies: Mapping[str, Tally], weights_RN: IntArray, cost: Mapping[str, Any]) -> System:
    scores = {metric: score(own, weights_RN) for metric, own in tallies.items()}
    return {
        "name": name,
        "parameters": cost.get("parameters"),
        "disk_bytes": cost.get("disk_bytes"),
        "scores": {
            metric: {
                "value": own.value,
                "low": own.low,
                "high": own.high,
                "signature": own.signature,
                "higher_is_better": own.higher_is_better,
            }
            for metric, own in scores.items()
        },
        "latency_ms": {"p50": cost.get("latency_p50_ms"), "p95": cost.get("latency_p95_ms")},
        "throughput_per_s": cost.get("throughput_per_s"),
        "peak_memory_bytes": cost.get("peak_memory_bytes"),
    }


def _gap(test: Mapping[str, Mapping[str, Tally]], metric: str, method: str, weights_RN: IntArray) -> Interval:
    gap = gap_closed(
        test[TEACHER][metric],
        fine_tuned=test[FINE_TUNED][metric],
        distilled=test[method][metric],
        weights_RN=weights_RN,
    )
    fact: Interval = {"value": gap.value, "low": gap.low, "high": gap.high}
    if gap.note:
        fact["note"] = gap.note
    return fact


def _lead(test: Mapping[str, Mapping[str, Tally]], metric: str, method: str, weights_RN: IntArray) -> Interval:
    lead = advantage(test[method][metric], test[FINE_TUNED][metric], weights_RN)
    return {"value": lead.value, "low": lead.low, "high": lead.high}


def _curve(stage: Finished, metric: str) -> list[CurvePoint]:
    rounds_per_epoch = cast(int, stage.manifest.facts.get("rounds_per_epoch", 1))
    history = cast(Sequence[Mapping[str, float]], stage.manifest.facts.get("history", ()))
    return [
        {
            "step": int(row["step"]),
            "epoch": row["round"] / rounds_per_epoch,
            "seconds": row["seconds"],
            "train_loss": row["train_loss"] if row["step"] else None,
            "dev": {metric: row[metric]},
        }
        for row in history
    ]


def _bought(bought: Finished, pool: Finished, signal: Finished | None) -> BoughtFacts:
    """What an endpoint was asked for, and how much of what it told could be used."""
    facts = cast(BoughtFacts, dict(cast(Mapping[str, object], bought.manifest.facts["bought"])))
    facts["too_long"] = cast(int, pool.manifest.facts["too_long"])
    if signal:
        facts["aligned"] = {how: cast(float, signal.manifest.facts[how]) for how in ("exact", "merged", "text")}
    return facts


def _pool_facts(recipe: Recipe, evidence: Evidence, eos_id: int | None) -> PoolFacts:
    """What the teacher wrote, and how many texts the student added."""
    if evidence.pool is None:
        return {}
    pool = PseudoTargetPool.open(evidence.pool.folder)
    statistics = pool.statistics(eos_id=eos_id)
    data = read_data(evidence.data)
    sources = {example.id: example.source for example in (*data.labeled, *data.unlabeled)}
    own = evidence.learned[recipe.distil.method].folder / STUDENT_SAMPLES
    if own.is_dir():
        statistics["generators"]["student"] = len(PseudoTargetPool.open(own))
    samples = [asdict(row) for row in show_rows(pool, sources, limit=SHOWN, seed=recipe.seed)]
    return cast(PoolFacts, {**statistics, "samples": samples})


def _examples(recipe: Recipe, answers: Mapping[str, Finished]) -> list[ExampleFacts]:
    """Where the distilled student does best and worst beside the teacher, and some drawn at random."""
    predictions = {name: answers_of(stage, "test") for name, stage in answers.items()}
    best, worst = best_and_worst(
        predictions, system=recipe.distil.method, against=TEACHER, k=SHOWN, metric=EXAMPLE_METRIC
    )
    anywhere = Random(recipe.seed).sample(range(len(predictions[TEACHER])), min(SHOWN, len(predictions[TEACHER])))
    tagged: dict[Literal["best", "worst"], list[Comparison]] = {"best": best, "worst": worst}
    shown: list[ExampleFacts] = [
        {
            "id": row.id,
            "source": row.source,
            "references": list(row.references),
            "texts": dict(row.texts),
            "scores": dict(row.scores),
            "tag": tag,
        }
        for tag, rows in tagged.items()
        for row in rows
    ]
    for index in sorted(anywhere):
        row = predictions[TEACHER][index]
        texts = {name: own[index].text for name, own in predictions.items()}
        shown.append(
            {"id": row.id, "source": row.source, "references": list(row.references), "texts": texts, "tag": "random"}
        )
    return shown


def _counts(data: Finished) -> dict[str, int]:
    splits = cast(Mapping[str, Mapping[str, float]], data.manifest.facts["splits"])
    return {name: int(split["inputs"]) for name, split in splits.items()}


def _has_no_gold(recipe: Recipe) -> bool:
    return isinstance(recipe.task, FilesTask) and "test" in recipe.task.referenced_by_teacher


def _notes(recipe: Recipe, learned: Mapping[str, Finished], examples: int) -> list[str]:
    """What a reader must know before believing the numbers."""
    notes = []
    if examples < FEW:
        notes.append(f"Test has {examples} examples: a bootstrap over so few gives intervals that are too narrow.")
    if recipe.training.keep_weights == "average":
        notes.append(
            f"{recipe.distil.method} is the mean of its last weights: only the last point of its curve is that mean's."
        )
    for name, stage in learned.items():
        if stage.manifest.facts.get("still_improving"):
            notes.append(f"{name} was best on dev at its last look: longer training may still improve it.")
    if _has_no_gold(recipe):
        notes.append(
            "There is no gold: test is compared with texts of the teacher, and the teacher's own row says how far it "
            "agrees with itself when it is asked again. How good these texts are, no number here says."
        )
    if recipe.task.leaks == "allow":
        notes.append("Inputs of dev or test may have been learned from: the recipe allows leaks.")
    return notes
