"""The stage that trains a tokenizer on the task's texts, for networks built from sizes."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

from understudy.columns import Examples
from understudy.models.tokenizers import train_tokenizer
from understudy.pipeline.context import NETWORK
from understudy.pipeline.stages.data import DataStage, read_data
from understudy.pool.pool import PseudoTargetPool
from understudy.progress import reported
from understudy.store import Stage, WorkerContext


@dataclass(frozen=True)
class TokenizerFacts:
    """What the tokenizer is like."""

    vocab_size: int


@dataclass(frozen=True)
class TokenizerStage(Stage[TokenizerFacts]):
    """A tokenizer trained on the sources and targets that training may see; dev and test stay unseen.

    A tokenizer trained on the text of dev and test would be a small leak.
    """

    data: DataStage
    prompt: str
    vocab_size: int
    with_withheld: bool
    """Whether the labels that are hidden from the student are used, as by a teacher with `labels: all`."""
    responses: Stage[Any] | None = None
    """The texts of an API teacher, which has no tokenizer to share."""
    name: ClassVar[str] = "tokenizer"

    def run(self, folder: Path, context: WorkerContext) -> TokenizerFacts:
        """Trains and saves the tokenizer."""
        task = read_data(context.folder(self.data))
        sources = Examples.joined(task.labeled, task.unlabeled, task.withheld if self.with_withheld else ())
        labeled = Examples.of(task.labeled) if self.responses else sources
        texts = chain(
            (self.prompt.replace("{source}", source) for source in sources.sources()),
            labeled.targets(),
            PseudoTargetPool.open(context.folder(self.responses)).texts if self.responses else (),
        )
        read = reported(context.progress, "train the tokenizer", texts, "text")
        tokenizer = train_tokenizer(read, vocab_size=self.vocab_size)
        tokenizer.save_pretrained(folder / NETWORK)
        return TokenizerFacts(len(tokenizer))
