"""The stage of what a system generates for dev and test, and of the likelihood of their references under it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from understudy.config.decoding import Decoding
from understudy.evaluation.metrics import SystemOutputs
from understudy.evaluation.predictions import read_predictions, write_predictions
from understudy.models.task_tokenizer import TextLimits
from understudy.pipeline.model_sources import FromStage, load_stage_network, load_task_tokenizer
from understudy.pipeline.stages.conversion import ConversionStage, open_converted
from understudy.pipeline.stages.data import load_split
from understudy.store import Content, Stage, WorkerContext
from understudy.training.dev_scoring import gold_likelihood, gold_top_tokens, predict

SCORED_SPLITS = ("dev", "test")
TOP_TOKENS = "dev-top-tokens.npy"
"""Gold tokens of dev and the network's most probable token at the position of each, (2, P)."""


@dataclass(frozen=True)
class PredictionsFacts:
    """Which engine generated them."""

    engine: str
    inputs: int
    unfinished: dict[str, int]
    """Split -> texts that were cut at the length limit."""


@dataclass(frozen=True)
class PredictionsStage(Stage[PredictionsFacts]):
    """Predictions of one network for dev and test."""

    converted: ConversionStage
    examples: Content
    """Dev and test."""
    decoding: Decoding
    likelihood: bool
    """Whether a metric needs the likelihood of gold."""
    limits: TextLimits
    device: str
    name: ClassVar[str] = "predictions"
    version: ClassVar[int] = 2

    def run(self, folder: Path, context: WorkerContext) -> PredictionsFacts:
        """Generates and scores gold."""
        network = self.converted.network
        tokenizer = load_task_tokenizer(FromStage(network), self.limits, context)
        inputs, unfinished = 0, {}
        for split in SCORED_SPLITS:
            examples = load_split(context.path(self.examples), split)
            inputs += len(examples)
            with (
                open_converted(self.converted, context, device=self.device) as engine,
                context.progress.track(f"{network.name} predicts {split}", len(examples), "input") as progress,
            ):
                predictions, unfinished[split] = predict(engine, tokenizer, examples, self.decoding, progress=progress)
            write_predictions(folder / f"{split}.jsonl", predictions)
        if self.likelihood:
            loaded = load_stage_network(network, context).to(self.device)
            for split in SCORED_SPLITS:
                rows_ND = gold_likelihood(loaded, tokenizer, load_split(context.path(self.examples), split))
                np.save(likelihood_file(folder, split), rows_ND)
            if dev := [one for one in load_split(context.path(self.examples), "dev") if one.targets]:
                np.save(folder / TOP_TOKENS, gold_top_tokens(loaded, tokenizer, dev))
        return PredictionsFacts(context.facts(self.converted).engine, inputs, unfinished)


def system_outputs(folder: Path, split: str) -> SystemOutputs:
    """What a system generated for a split, from the folder of a finished stage."""
    rows = likelihood_file(folder, split)
    return SystemOutputs(read_predictions(folder / f"{split}.jsonl"), np.load(rows) if rows.exists() else None)


def likelihood_file(folder: Path, split: str) -> Path:
    """The nats and tokens of gold; an API teacher has none."""
    return folder / f"{split}-likelihood.npy"


def load_predictions(stage: Stage[Any], context: WorkerContext, split: str) -> SystemOutputs:
    """What a system generated for a split."""
    return system_outputs(context.folder(stage), split)
