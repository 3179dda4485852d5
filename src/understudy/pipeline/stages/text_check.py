"""The stage that checks how a network reads and writes the task's texts; it loads configs and tokenizers only."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from understudy.errors import shortened
from understudy.models.checkpoint import config_of
from understudy.models.checkpoint_checks import round_trip
from understudy.models.task_tokenizer import TaskTokenizer, TextLimits
from understudy.pipeline.model_sources import TokenizerSource, checkpoint_path, load_task_tokenizer
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.network_check import CheckFacts, Finding
from understudy.store import Content, Stage, WorkerContext


@dataclass(frozen=True)
class TaskReading:
    """What the checks see: a tokenizer, the rows of its network's embeddings, and some targets of the task."""

    role: str
    tokenizer: TaskTokenizer
    rows: int | None
    """None: the network is built for the tokenizer."""
    targets: tuple[str, ...]


@dataclass(frozen=True)
class TextCheckStage(Stage[CheckFacts]):
    """Tokens, special roles, padding of the vocabulary, and the round trip of targets."""

    role: str
    tokens: TokenizerSource
    labeled: Content
    limits: TextLimits
    name: ClassVar[str] = "text_check"

    @property
    def title(self) -> str:
        """What progress lines call the stage."""
        return f"check the {self.role}'s tokens"

    def run(self, folder: Path, context: WorkerContext) -> CheckFacts:  # noqa: ARG002 - all is in the facts
        """Makes every check of the table; checkpoints that cannot be used were refused by `check_models` before."""
        tokenizer = load_task_tokenizer(self.tokens, self.limits, context)
        config = None if self.tokens.scratch else config_of(checkpoint_path(self.tokens.tokens, context))
        examples = load_split(context.path(self.labeled), "labeled")
        targets = [target for example in examples for target in example.targets]
        reading = TaskReading(
            self.role,
            tokenizer,
            getattr(config, "vocab_size", None),
            tuple(targets),
        )
        return CheckFacts(tuple(check(reading) for check in TEXT_CHECKS.values()))


def end_of_text(reading: TaskReading) -> Finding:
    """The token that ends a text."""
    return Finding(f"{reading.role} special tokens", f"a text ends with {reading.tokenizer.tokenizer.eos_token!r}")


def vocabulary(reading: TaskReading) -> Finding:
    """The number of tokens, and of rows of the embeddings that have none."""
    tokens, rows = len(reading.tokenizer.tokenizer), reading.rows
    padding = f" and {rows - tokens} rows of padding" if rows is not None and rows > tokens else ""
    return Finding(f"{reading.role} vocabulary", f"{tokens} tokens{padding}")


def check_round_trip(reading: TaskReading) -> Finding:
    """Whether targets survive being encoded and decoded; `run --strict` makes the warning an error."""
    check, trip = f"{reading.role} target texts", round_trip(reading.tokenizer, reading.targets)
    if not trip.checked:
        return Finding(check, "there are no gold targets to encode")
    if not trip.changed:
        return Finding(check, f"all of {trip.checked} targets are the same after encoding and decoding")
    found = (
        f"{trip.changed} of {trip.checked} targets are another text after encoding and decoding, which the "
        f"{reading.role} can never write (first: {shortened(trip.text)} becomes {shortened(trip.decoded)})"
    )
    return Finding(check, found, "use a checkpoint whose tokenizer has the task's characters", "warning")


TEXT_CHECKS: dict[str, Callable[[TaskReading], Finding]] = {
    "end_of_text": end_of_text,
    "vocabulary": vocabulary,
    "round_trip": check_round_trip,
}
