"""The progress of one training: what a checkpoint saves in addition to weights and optimizer."""

from dataclasses import dataclass, field


@dataclass
class TrainState:
    """Counters, scores and schedule state. Every checkpoint holds all of it as JSON.

    It holds no random state: dropout is seeded by the step, the plan by the round.
    """

    round: int = 0
    batch: int = 0
    """Micro-batches done in this round."""
    batches: int = 0
    """Micro-batches of this round."""
    step: int = 0
    """Optimizer steps."""
    seconds: float = 0.0
    best_score: float | None = None
    """Dev score of the kept weights, negated where lower is better: of the best or the latest, as settings say."""
    best_loss: float | None = None
    """Dev loss of the kept weights in nats per token, where it is known; decides between equal dev scores."""
    best_step: int = 0
    """Step of the kept weights."""
    evals_without_improvement: int = 0
    stopped_early: bool = False
    """Early stopping: whether `patience` evaluations brought no improvement."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One row per evaluation on dev."""
    loss_sum: float = 0.0
    """In nats, since the last evaluation on dev."""
    positions: int = 0
    """Target positions since the last evaluation on dev."""
    progress_at_step: float = 0.0
    """Share of the training that was done before the current step, 0..1."""
    schedule_state: dict[str, float] = field(default_factory=dict)
    """State of the schedules and of the relation loss."""
    ranks: int = 1
    """Processes that make each step together: another number sums gradients in another order."""

    @property
    def loss(self) -> float:
        """Mean since the last evaluation on dev, in nats per target position."""
        return self.loss_sum / max(1, self.positions)

    def progress(self, rounds: int) -> float:
        """Share of a training of `rounds` rounds that is done, 0..1."""
        return (self.round + self.batch / max(1, self.batches)) / rounds

    def history_row(self) -> dict[str, float]:
        """The row of `history` without the dev scores."""
        return {"step": self.step, "round": self.round, "seconds": round(self.seconds, 2), "train_loss": self.loss}
