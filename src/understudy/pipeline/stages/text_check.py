"""The stage that checks how a network reads and writes the task's texts; it loads configs and tokenizers only."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from understudy.errors import ModelError, shortened
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
    start: int | None
    """The token that starts a target of an encoder-decoder's checkpoint."""
    is_checkpoint: bool
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
        """Makes every check of the table.

        Raises:
            ModelError: if the network cannot read or write the task's texts.
        """
        tokenizer = load_task_tokenizer(self.tokens, self.limits, context)
        config = None if self.tokens.scratch else config_of(checkpoint_path(self.tokens.tokens, context))
        examples = load_split(context.path(self.labeled), "labeled")
        targets = [target for example in examples for target in example.targets]
        reading = TaskReading(
            self.role,
            tokenizer,
            getattr(config, "vocab_size", None),
            getattr(config, "decoder_start_token_id", None),
            config is not None,
            tuple(targets),
        )
        return CheckFacts(tuple(check(reading) for check in TEXT_CHECKS.values()))


def check_special_roles(reading: TaskReading) -> Finding:
    """Whether the tokens that begin and end a text are there."""
    own = reading.tokenizer
    if own.tokenizer.eos_token_id is None:
        raise ModelError(
            f"the {reading.role}'s tokenizer has no end-of-sequence token, so its texts would never end; set "
            "eos_token in its tokenizer_config.json"
        )
    if own.is_encoder_decoder and reading.is_checkpoint and reading.start is None:
        raise ModelError(
            f"the {reading.role}'s config has no decoder_start_token_id, so it is not known which token starts a "
            "target; set decoder_start_token_id in its config.json"
        )
    return Finding(f"{reading.role} special tokens", f"a text ends with {own.tokenizer.eos_token!r}")


def check_vocabulary(reading: TaskReading) -> Finding:
    """Whether every token has a row of the embeddings."""
    tokens, rows = len(reading.tokenizer.tokenizer), reading.rows
    if rows is not None and tokens > rows:
        raise ModelError(
            f"the {reading.role}'s tokenizer has {tokens} tokens and its network {rows} rows of embeddings, so some "
            "tokens cannot be read; use the tokenizer that was saved with the checkpoint"
        )
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
    "special_roles": check_special_roles,
    "vocabulary": check_vocabulary,
    "round_trip": check_round_trip,
}
