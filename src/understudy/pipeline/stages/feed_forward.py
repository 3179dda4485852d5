"""The stage that finds out which neurons of the feed-forward layers a pruned student keeps."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from understudy.models.feed_forward import neurons_by_activation
from understudy.models.task_tokenizer import TextLimits
from understudy.pipeline.model_sources import NEURONS, FromPruned, load_source, load_task_tokenizer
from understudy.pipeline.stages.layer_order import labeled_batches
from understudy.store import Content, Stage, WorkerContext
from understudy.store.disk import write_json


@dataclass(frozen=True)
class FeedForwardFacts:
    """How many layers were made narrower."""

    layers: int
    width: int
    examples: int


@dataclass(frozen=True)
class FeedForwardStage(Stage[FeedForwardFacts]):
    """The neurons of each feed-forward layer with the largest activations on labeled examples."""

    pruned: FromPruned
    """The student with its layers, and all neurons of each."""
    width: int
    labels: Content
    """Labeled examples."""
    examples: int
    limits: TextLimits
    seed: int
    device: str
    name: ClassVar[str] = "feed_forward"

    def run(self, folder: Path, context: WorkerContext) -> FeedForwardFacts:
        """Runs the network once on each example.

        Raises:
            DataError: if there are no labeled examples.
            ModelError: if the feed-forward layers are not found.
        """
        tokenizer = load_task_tokenizer(self.pruned, self.limits, context)
        chosen = (self.examples, self.seed, 1)
        texts = labeled_batches(context.path(self.labels), tokenizer, chosen, device=self.device)
        network = load_source(self.pruned, tokenizer, context).requires_grad_(requires_grad=False).to(self.device)
        neurons = neurons_by_activation(network, texts, self.width)
        write_json(folder / NEURONS, neurons)
        context.progress.log(f"the student keeps {self.width} neurons of each of {len(neurons)} feed-forward layers")
        return FeedForwardFacts(len(neurons), self.width, len(texts))
