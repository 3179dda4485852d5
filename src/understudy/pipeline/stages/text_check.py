"""The stage that checks how a network reads and writes the task's texts; it loads configs and tokenizers only."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from understudy.errors import ModelError
from understudy.models.checkpoint import config_of
from understudy.models.task_tokenizer import TaskTokenizer, TextLimits
from understudy.pipeline.model_sources import TokenizerSource, checkpoint_path, load_task_tokenizer
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.network_check import CheckFacts, Finding
from understudy.store import Content, Stage, WorkerContext

MOST_TARGETS = 2000
"""Targets whose round trip is checked: enough to meet every script and symbol of a task."""
FEW_CHANGED = 0.01
"""Share of changed targets up to which they are a warning; above, the network cannot learn the task's texts."""


@dataclass(frozen=True)
class Reading:
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
        targets = [target for example in examples for target in example.targets][:MOST_TARGETS]
        reading = Reading(
            self.role,
            tokenizer,
            getattr(config, "vocab_size", None),
            getattr(config, "decoder_start_token_id", None),
            config is not None,
            tuple(targets),
        )
        return CheckFacts(tuple(check(reading) for check in TEXT_CHECKS.values()))


def special_roles(reading: Reading) -> Finding:
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


def vocabulary(reading: Reading) -> Finding:
    """Whether every token has a row of the embeddings."""
    tokens, rows = len(reading.tokenizer.tokenizer), reading.rows
    if rows is not None and tokens > rows:
        raise ModelError(
            f"the {reading.role}'s tokenizer has {tokens} tokens and its network {rows} rows of embeddings, so some "
            "tokens cannot be read; use the tokenizer that was saved with the checkpoint"
        )
    padding = f" and {rows - tokens} rows of padding" if rows is not None and rows > tokens else ""
    return Finding(f"{reading.role} vocabulary", f"{tokens} tokens{padding}")


def round_trip(reading: Reading) -> Finding:
    """Whether targets survive being encoded and decoded."""
    check, texts = f"{reading.role} target texts", reading.targets
    if not texts:
        return Finding(check, "there are no gold targets to encode")
    decoded = [reading.tokenizer.decode(row) for row in reading.tokenizer.encode_targets(texts)]
    changed = [(a, b) for a, b in zip(texts, decoded, strict=True) if a.split() != b.split()]
    if not changed:
        return Finding(check, f"all of {len(texts)} targets are the same after encoding and decoding")
    first, after = changed[0]
    found = (
        f"{len(changed)} of {len(texts)} targets are another text after encoding and decoding (first: {first[:60]!r} "
        f"becomes {after[:60]!r})"
    )
    remedy = "use a checkpoint whose tokenizer knows the task's characters"
    if len(changed) > FEW_CHANGED * len(texts):
        raise ModelError(f"{found}, so the {reading.role} cannot learn them; {remedy}")
    return Finding(check, found, remedy, "warning")


TEXT_CHECKS: dict[str, Callable[[Reading], Finding]] = {
    "special_roles": special_roles,
    "vocabulary": vocabulary,
    "round_trip": round_trip,
}
