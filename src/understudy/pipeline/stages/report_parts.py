"""Parts of the report's facts that come from single stages: curves, the pool, an API teacher's responses."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from understudy.models.tokenizers import load_tokenizer
from understudy.pipeline.stages.api_logprobs import ApiLogprobsStage
from understudy.pipeline.stages.layer_order import LayerOrderFacts
from understudy.pipeline.stages.pool_selection import PoolSelectionStage
from understudy.pipeline.stages.pseudo_targets import PseudoTargetsStage
from understudy.pipeline.stages.student import STUDENT_SAMPLES
from understudy.pipeline.stages.teacher_logprobs import LogprobsFacts, LogprobsStage, TeacherLogprobsStage
from understudy.pipeline.stages.training import TrainingFacts
from understudy.pipeline.stages.vocabulary import VocabularyStage
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.show import show_rows
from understudy.records import TaskData, TextGenerator
from understudy.report.api_facts import ApiResponseFacts
from understudy.report.content_facts import (
    RemovedLayersFacts,
    TeacherLogprobFacts,
    TokenMapFacts,
    TrimmedVocabulary,
)
from understudy.report.facts import CurvePoint, PoolFacts
from understudy.store import Stage, WorkerContext
from understudy.store.manifest import Manifest, parse

LOW_MASS = 0.75
"""Kept mass below which the gradient of forward KL had errors of about 10 % (14 tokens of flat distributions)."""


@dataclass(frozen=True)
class ApiReport:
    """The stages of an API teacher that the report describes."""

    responses: Stage[Any]
    pool: Stage[Any]
    logprobs: Stage[Any] | None

    def facts(self, context: WorkerContext) -> ApiResponseFacts:
        """What was requested, and how much of what came could be used."""
        facts = cast(ApiResponseFacts, asdict(context.facts(self.responses)))
        facts["too_long"] = context.facts(self.pool).too_long
        if self.logprobs:
            shares = context.facts(self.logprobs)
            facts["logprob_alignment"] = {"exact": shares.exact, "merged": shares.merged, "text": shares.text}
        return facts


def curve_points(facts: TrainingFacts, metric: str) -> list[CurvePoint]:
    """The dev scores of a training."""
    return [
        {
            "step": int(row["step"]),
            "epoch": row["round"] / facts.rounds_per_epoch,
            "seconds": row["seconds"],
            "train_loss": row["train_loss"] if row["step"] else None,
            "dev": {metric: row[metric]},
        }
        for row in facts.history
    ]


def removed_layers(facts: LayerOrderFacts) -> RemovedLayersFacts:
    """The layers of the teacher that were removed by loss."""
    order = facts.order
    return {
        "loss": order.loss,
        "removed": [{"part": one.part, "layer": one.layer, "loss": one.loss} for one in order.removed],
        "kept": {part: list(layers) for part, layers in order.kept.items()},
        "examples": facts.examples,
    }


def trimmed_vocabularies(
    stages: Sequence[tuple[str, VocabularyStage]], context: WorkerContext
) -> list[TrimmedVocabulary]:
    """What trimming saved each system, and what it costs."""
    return [cast(TrimmedVocabulary, {"system": name, **asdict(context.facts(stage))}) for name, stage in stages]


def token_map_facts(
    stages: Sequence[tuple[TextGenerator, LogprobsStage]], context: WorkerContext
) -> list[TokenMapFacts]:
    """How the student's tokens were compared with those of a local teacher with another tokenizer; else nothing."""
    # A student that is found may have outlived the log-probabilities that it learned.
    found = {name: context.facts(stage) for name, stage in stages if context.store.finished(stage)}
    return [
        {
            "texts": name,
            "positions": own.positions,
            "exact": own.exact or 0.0,
            "merged": own.merged or 0.0,
            "inside": own.inside,
            "text": own.text or 0.0,
            "mass": own.mean_mass,
        }
        for name, own in found.items()
        if own.inside is not None
    ]


def reasoning_facts(pool: Stage[Any] | None, context: WorkerContext) -> PoolFacts:
    """From how many texts of a local teacher reasoning was removed; empty where from none."""
    generated = pool.pool if isinstance(pool, PoolSelectionStage) else pool
    own = context.facts(generated) if isinstance(generated, PseudoTargetsStage) else None
    return {"reasoned": own.reasoned, "only_reasoned": own.only_reasoned} if own and own.reasoned else {}


def pool_facts(
    folder: Path | None, student: Path, data: TaskData, *, tokens: str | None, shown: int, seed: int
) -> PoolFacts:
    """What the teacher generated, and how many samples the student added; empty where there is no pool.

    Args:
        folder: of the pool.
        student: folder of the distilled student's stage.
        data: the examples whose inputs the pool is for.
        tokens: the checkpoint whose token ids the pool has.
        shown: how many texts the report shows.
        seed: draws them.
    """
    if folder is None or tokens is None:
        return {}
    pool = PseudoTargetPool.open(folder)
    statistics = pool.statistics(eos_id=load_tokenizer(tokens).eos_token_id)
    sources = {example.id: example.source for example in (*data.labeled, *data.unlabeled)}
    own = student / STUDENT_SAMPLES
    if own.is_dir():
        statistics["generators"]["student"] = len(PseudoTargetPool.open(own))
    samples = [asdict(row) for row in show_rows(pool, sources, limit=shown, seed=seed)]
    return cast(PoolFacts, {**statistics, "samples": samples})


def teacher_logprob_facts(manifests: Mapping[Path, Manifest]) -> list[TeacherLogprobFacts]:
    """What each cache of teacher log-probabilities costs and leaves out; one that was deleted has no facts."""
    found: list[TeacherLogprobFacts] = []
    for path, manifest in manifests.items():
        if manifest.stage in {TeacherLogprobsStage.name, ApiLogprobsStage.name}:
            own = parse(LogprobsFacts, manifest.facts, path)
            found.append(
                {
                    "generator": own.generator,
                    "texts": own.texts,
                    "positions": own.positions,
                    "bytes_per_position": own.bytes_per_position,
                    "mean_kept": own.mean_kept,
                    "mean_mass": own.mean_mass,
                    "lost_divergence": own.lost_divergence,
                }
            )
    return found


def low_mass_notes(caches: Sequence[TeacherLogprobFacts]) -> Iterator[str]:
    """Caches of a local teacher that leave much out; of an API teacher, what is left out was never known."""
    for own in caches:
        if own["mean_mass"] < LOW_MASS and own["lost_divergence"] is not None:
            yield (
                f"The cached teacher log-probabilities ({own['generator']}) keep {own['mean_mass']:.0%} of the mass. "
                f"Below {LOW_MASS:.0%} the gradient of forward KL had an error of about 10 % in measurements; "
                "distil.teacher_logprobs: {kind: sparse, top: 64, top_p: 1} or {kind: dense} keeps more."
            )
