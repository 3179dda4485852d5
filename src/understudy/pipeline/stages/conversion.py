"""The stage of a network in the form its generation engine reads, made once for all stages that generate with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from understudy.config.decoding import EngineName
from understudy.generation import Engine, convert_checkpoint, open_engine, resolve_engine
from understudy.pipeline.context import NETWORK
from understudy.store import Stage, WorkerContext


@dataclass(frozen=True)
class ConversionFacts:
    """Which engine was chosen."""

    engine: str


@dataclass(frozen=True)
class ConversionStage(Stage[ConversionFacts]):
    """The files of an engine for one network; none where the engine reads the checkpoint itself."""

    network: Stage[Any]
    engine: EngineName
    """`auto` is resolved here, by the network's config; the facts say to what."""
    name: ClassVar[str] = "conversion"

    def run(self, folder: Path, context: WorkerContext) -> ConversionFacts:
        """Converts the network.

        Raises:
            GenerationError: if the engine does not support the network.
        """
        checkpoint = context.folder(self.network) / NETWORK
        engine = resolve_engine(self.engine, checkpoint)
        convert_checkpoint(engine, checkpoint, folder / engine)
        return ConversionFacts(engine)


@contextmanager
def open_converted(
    stage: ConversionStage, context: WorkerContext, *, device: str, threads: int | None = None
) -> Iterator[Engine]:
    """The engine of a finished conversion stage."""
    with open_engine(
        context.facts(stage).engine,
        context.folder(stage.network) / NETWORK,
        workspace=context.folder(stage),
        device=device,
        threads=threads,
    ) as engine:
        yield engine
