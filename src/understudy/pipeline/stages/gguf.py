"""The stage that reads a GGUF file once and keeps it in the Hugging Face layout."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from understudy.models.gguf import save_gguf
from understudy.pipeline.context import NETWORK
from understudy.store import Content, Stage, WorkerContext


@dataclass(frozen=True)
class GgufFacts:
    """What the file holds."""

    parameters: int


@dataclass(frozen=True)
class GgufStage(Stage[GgufFacts]):
    """The network of a GGUF file in float32, with its tokenizer."""

    file: Content
    name: ClassVar[str] = "gguf"

    @property
    def title(self) -> str:
        """What progress lines call the stage."""
        return f"read {Path(self.file.place).name}"

    def run(self, folder: Path, context: WorkerContext) -> GgufFacts:
        """Reads the file.

        Raises:
            ModelError: if transformers cannot read it, or it lacks weights.
        """
        return GgufFacts(save_gguf(context.path(self.file), folder / NETWORK))
