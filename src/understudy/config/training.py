"""Settings of optimisation."""

from typing import Literal, Self

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from understudy.config.section import Section

Precision = Literal["auto", "float32", "bf16"]


class Training(Section):
    """One training: how many passes, how large a step, how fast, when to stop."""

    learning_rate: PositiveFloat = 5e-4
    """Peak of the schedule. The right value depends on the model: 5e-4 suits small students, 5e-5 large teachers."""
    epochs: PositiveInt = 10
    """Passes over the inputs."""
    batch_tokens: PositiveInt = 8192
    """Padded tokens of one micro-batch, source and target together."""
    gradient_accumulation_steps: PositiveInt = 1
    """Micro-batches per optimizer step."""
    targets_per_source: PositiveInt = 1
    """Targets of one source that share an encoder pass. Beside pseudo-targets gold is still taught one by one, so that
    its part of the texts shrinks (docs/methods.md)."""
    warmup_steps: NonNegativeInt = 100
    schedule: Literal["linear", "constant"] = "linear"
    """After warm-up: down to zero at the last step, or level."""
    weight_decay: NonNegativeFloat = 0.01
    max_grad_norm: PositiveFloat = 1.0
    evaluate_every: PositiveInt = 1
    """Epochs between two looks at dev."""
    patience: PositiveInt | None = None
    """Looks at dev without improvement after which training stops; none: never."""
    keep_weights: Literal["best", "last", "average"] = "best"
    """The weights dev liked best, the last, or the mean of those after every step of the last quarter. Best guards
    against overfitting to little gold; last spares a student that only converges, as most that learn from a teacher do,
    the luck of an early look (docs/results.md); average wants `schedule: constant` (Izmailov et al. 2018,
    arXiv:1803.05407): where the rate falls, the last weights are a mean already."""

    @model_validator(mode="after")
    def _patience_has_a_best(self) -> Self:
        if self.keep_weights != "best" and self.patience is not None:
            msg = (
                f"patience is {self.patience}, which stops at weights that dev no longer likes, and "
                f"keep_weights={self.keep_weights} "
                "would keep them; leave patience out, or set keep_weights=best"
            )
            raise ValueError(msg)
        return self
