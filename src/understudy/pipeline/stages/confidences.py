"""The stage of how sure the student is of each text that it generated for dev and test."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from understudy.generation.confidence import confidences
from understudy.pipeline.model_sources import FromStage, load_task_tokenizer
from understudy.pipeline.stages.conversion import open_converted
from understudy.pipeline.stages.predictions import SCORED_SPLITS, PredictionsStage, load_predictions
from understudy.pipeline.systems import System
from understudy.records import Example
from understudy.store import Stage, WorkerContext
from understudy.store.disk import write_text
from understudy.training.dev_scoring import generated_texts


@dataclass(frozen=True)
class ConfidencesFacts:
    """How the texts compare with the predictions."""

    differing: dict[str, int]
    """Split -> texts that are not those of the predictions, as rounding decided otherwise between tokens."""


@dataclass(frozen=True, slots=True)
class TextConfidence:
    """Of one evaluated text."""

    id: str
    confidence: float
    """As in `serving.deployment.Answer`: probability per token, not calibrated."""
    tokens: int
    """The one that ends the text included."""


@dataclass(frozen=True)
class ConfidencesStage(Stage[ConfidencesFacts]):
    """The confidence of a system in each text.

    Predictions hold texts alone, and a text can be the result of several rows of tokens. So the texts are generated
    again, as they were, and their confidence is what a server gives for the same source.
    """

    system: System
    """With a network on this machine."""
    name: ClassVar[str] = "confidences"

    def run(self, folder: Path, context: WorkerContext) -> ConfidencesFacts:
        """Generates the texts of both splits."""
        own = self.system.predictions
        assert isinstance(own, PredictionsStage)  # noqa: S101 - the system has a network
        network = own.converted.network
        tokenizer = load_task_tokenizer(FromStage(network), own.limits, context)
        differing = {}
        for split in SCORED_SPLITS:
            predictions = load_predictions(own, context, split).predictions
            sources = tokenizer.encode_sources([Example(one.id, one.source) for one in predictions])
            with (
                open_converted(own.converted, context, device=own.device) as engine,
                context.progress.track(f"confidence of {network.name} on {split}", len(sources), "input") as progress,
            ):
                texts = generated_texts(engine, tokenizer, sources, own.decoding, progress=progress)
                found = confidences(engine, sources, texts)
            differing[split] = sum(
                tokenizer.decode(text.token_ids).strip() != one.text
                for text, one in zip(texts, predictions, strict=True)
            )
            rows = (
                TextConfidence(one.id, confidence, len(text.token_ids))
                for one, confidence, text in zip(predictions, found, texts, strict=True)
            )
            write_text(
                _file(folder, split), "".join(f"{json.dumps(asdict(row), ensure_ascii=False)}\n" for row in rows)
            )
        return ConfidencesFacts(differing)


def read_confidences(folder: Path, split: str) -> list[TextConfidence]:
    """The confidences of a split, in the order of its predictions, from the folder of a finished stage."""
    with _file(folder, split).open(encoding="utf-8") as file:
        return [TextConfidence(**json.loads(line)) for line in file]


def _file(folder: Path, split: str) -> Path:
    return folder / f"{split}.jsonl"
