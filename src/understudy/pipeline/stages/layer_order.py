"""The stage that finds out which layers of the teacher a pruned student can do without."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from understudy.errors import DataError
from understudy.models.families import layer_counts
from understudy.models.forward import padded
from understudy.models.layer_order import LayerOrder, TextBatch, layer_order
from understudy.models.task_tokenizer import TaskTokenizer, TextLimits
from understudy.pipeline.model_sources import FromStage, load_stage_network, load_task_tokenizer
from understudy.pipeline.stages.data import load_split
from understudy.store import Content, Stage, WorkerContext

ORDER_EXAMPLES = 32
"""Labeled examples on which losses are compared: 18 layers of 100 M parameters took minutes on one core."""
BATCH_EXAMPLES = 8


@dataclass(frozen=True)
class LayerOrderFacts:
    """The layers in the order in which they were removed."""

    order: LayerOrder
    examples: int

    @property
    def summary(self) -> str:
        """The facts as a sentence."""
        kept = " and ".join(f"{part} layers {list(layers)}" for part, layers in self.order.kept.items())
        loss = self.order.removed[-1].loss if self.order.removed else self.order.loss
        return (
            f"the student keeps {kept}: without the others, the teacher's loss on {self.examples} labeled examples "
            f"is {loss:.2f} instead of {self.order.loss:.2f} nats per token, before any training"
        )


@dataclass(frozen=True)
class LayerOrderStage(Stage[LayerOrderFacts]):
    """The layers of the teacher in the order in which its loss on labeled examples misses them least."""

    teacher: Stage[Any]
    encoder_layers: int | None
    """How many to keep; None: all."""
    decoder_layers: int | None
    labels: Content
    """Labeled examples."""
    examples: int
    """How many of them, with the first target of each."""
    limits: TextLimits
    seed: int
    """Of the choice of the examples."""
    device: str
    name: ClassVar[str] = "layer_order"

    @property
    def keep(self) -> dict[str, int]:
        """`encoder`, `decoder` -> how many layers to keep, of each part that loses some."""
        requested = {"encoder": self.encoder_layers, "decoder": self.decoder_layers}
        return {part: number for part, number in requested.items() if number is not None}

    def run(self, folder: Path, context: WorkerContext) -> LayerOrderFacts:  # noqa: ARG002 - all is in the facts
        """Removes one layer after the other.

        Raises:
            DataError: if there are no labeled examples.
            ModelError: if the layers of the teacher cannot be found, or are fewer than requested.
        """
        tokenizer = load_task_tokenizer(FromStage(self.teacher), self.limits, context)
        chosen = (self.examples, self.seed, BATCH_EXAMPLES)
        batches = labeled_batches(context.path(self.labels), tokenizer, chosen, device=self.device)
        network = load_stage_network(self.teacher, context).requires_grad_(requires_grad=False).to(self.device)
        layers = layer_counts(network.config, network)
        removed = sum(layers.get(part, 0) - number for part, number in self.keep.items())
        with context.progress.track("remove the layers that the loss misses least", removed, "layer") as progress:
            order = layer_order(network, batches, keep=self.keep, progress=progress)
        facts = LayerOrderFacts(order, sum(len(batch["source_of_B"]) for batch in batches))
        context.progress.log(facts.summary)
        return facts


def labeled_batches(
    folder: Path, tokenizer: TaskTokenizer, chosen: tuple[int, int, int], *, device: str
) -> list[TextBatch]:
    """Some labeled examples with their first targets, sorted by length.

    Args:
        folder: of the examples.
        tokenizer: of the network that reads them.
        chosen: how many, the seed of their choice, and how many per batch.
        device: of the tensors.

    Raises:
        DataError: if there are none.
    """
    examples, seed, size = chosen
    labeled = [example for example in load_split(folder, "labeled") if example.targets]
    if not labeled:
        raise DataError(
            "student.prune.layers: by_loss and student.prune.feed_forward are decided on labeled examples, and the "
            "labeled split has none that the teacher can read completely; add some to task.files.labeled, or leave "
            "both out"
        )
    rows = np.random.default_rng(seed).permutation(len(labeled))[:examples]
    sources = tokenizer.encode_sources([labeled[row] for row in rows])
    targets = tokenizer.encode_targets([labeled[row].targets[0] for row in rows])
    texts = sorted(zip(sources, targets, strict=True), key=lambda text: len(text[0]) + len(text[1]))
    parts = [texts[start : start + size] for start in range(0, len(texts), size)]
    return [_batch(*zip(*part, strict=True), device=device) for part in parts]


def _batch(sources: Sequence[list[int]], targets: Sequence[list[int]], *, device: str) -> TextBatch:
    source_ids_SL, source_mask_SL = padded(sources)
    target_ids_BT, target_mask_BT = padded(targets)
    tensors = {
        "source_ids_SL": source_ids_SL,
        "source_mask_SL": source_mask_SL,
        "source_of_B": torch.arange(len(sources)),
        "target_ids_BT": target_ids_BT,
        "target_mask_BT": target_mask_BT,
    }
    return {name: tensor.to(device) for name, tensor in tensors.items()}
