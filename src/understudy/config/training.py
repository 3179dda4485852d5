"""Optimization settings of one training."""

from collections.abc import Iterator
from typing import Literal

from understudy.config.numbers import (
    CountFromZero,
    Dimension,
    LearningRate,
    Positive,
    Rounds,
    ShareBelowOne,
    Switch,
    TextsPerInput,
    TokenCount,
    Weight,
)
from understudy.config.section import Section

TargetsPerSource = TextsPerInput | Literal["auto"]
Precision = Literal["auto", "float32", "bf16"]
"""Numeric precision of training."""
WeightType = Literal["float32", "bf16"]
"""Type of weights that are not trained."""


class Lora(Section):
    """LoRA: the weights stay as they are, and a small update of each chosen matrix is trained, then merged into it.

        W x + (alpha / rank) * B A x,  A of rank x inputs, B of outputs x rank

    Source: Hu et al. 2022 (arXiv:2106.09685).
    """

    rank: Dimension = 16
    """Rank of the update."""
    alpha: Positive = 32.0
    """The update is multiplied by alpha / rank."""
    dropout: ShareBelowOne = 0.0
    """Dropout probability of the update's inputs."""
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Which matrices: all of attention and feed-forward (not embeddings and head), or the ends of their names, such as
    `[q_proj, v_proj]`."""

    def conflicts(self) -> Iterator[str]:
        """An empty list trains nothing."""
        if not self.target_modules:
            yield "target_modules is an empty list, so nothing would be trained; name some, or leave it out"


class Training(Section):
    """Optimization settings of one training."""

    learning_rate: LearningRate = 5e-4
    """Peak of the schedule. The right value depends on the model: 5e-4 suits small students, 5e-5 large teachers."""
    epochs: Rounds = 10
    """Passes over the inputs."""
    batch_tokens: TokenCount = 8192
    """Padded tokens of one micro-batch, source and target together."""
    gradient_accumulation_steps: Rounds = 1
    """Micro-batches per optimizer step."""
    targets_per_source: TargetsPerSource = 1
    """Targets of one source that share one encoder pass. With a number k an epoch uses k targets of every input; gold
    targets are still used one per source, so their share of the targets shrinks when pseudo-targets are used too. With
    auto an epoch has as many targets of each origin as with 1: a k-th of the inputs, each with k targets, gold too. k
    is 4 where sources are at least twice as long as targets, 2 where they are at least half as long, else 1;
    decoder-only models then read a prompt once for its targets where that is faster (docs/methods.md)."""
    warmup_steps: CountFromZero = 100
    """Optimizer steps over which the learning rate rises from 0 to its peak."""
    schedule: Literal["linear", "constant"] = "linear"
    """Learning rate after warm-up: linear decay to zero at the last step, or constant."""
    weight_decay: Weight = 0.01
    """Weight decay of AdamW."""
    max_grad_norm: Positive = 1.0
    """Gradients are clipped to this norm."""
    evaluate_every: Rounds = 1
    """Epochs between two evaluations on dev."""
    patience: Rounds | None = None
    """Early stopping: evaluations on dev without improvement after which training stops; null disables it."""
    keep_weights: Literal["best", "last", "average"] = "best"
    """Which weights training returns. best: the checkpoint with the best dev score (of equal ones that with the lower
    dev loss, else the later), against overfitting on few gold targets. last: those after the last step, for a student
    that converges without overfitting, as most distilled students do: the best of many dev scores is partly chance
    (docs/results.md). average: the mean of the weights after every step of the last quarter of training, with
    `schedule: constant` (Izmailov et al. 2018, arXiv:1803.05407); with a falling learning rate the last weights already
    average the noise."""
    lora: Lora | None = None
    """Trains a LoRA adapter of a pretrained model, which takes less memory; null: all weights are trained. It needs
    `pip install 'understudy[peft]'`. A larger learning rate suits it: 2e-4, for example."""

    gradient_checkpointing: Switch = None
    """Whether layers are computed again in the backward pass instead of kept: the same gradients with less memory, in
    more time (docs/language-models.md#memory)."""
    compile_layers: Switch = None
    """Whether layers are compiled by torch.compile: faster steps, after seconds or minutes of compiling. Dropout is
    another than without, and an interrupted training does not end with equal bytes (docs/language-models.md#memory)."""

    def conflicts(self) -> Iterator[str]:
        """Early stopping needs the best checkpoint; prompts that are read once are read without compiled layers."""
        if self.compile_layers and self.targets_per_source == "auto":
            yield (
                "targets_per_source is auto, which may read a prompt into a cache, and compile_layers compiles no "
                "layers with one; leave compile_layers out, or set targets_per_source to a number"
            )
        if self.keep_weights != "best" and self.patience is not None:
            yield (
                f"patience is {self.patience}, so training stops some evaluations after the best dev score, and "
                f"keep_weights={self.keep_weights} would not return the best weights; leave patience out, or set "
                "keep_weights=best"
            )
