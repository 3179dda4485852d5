"""The stage of a network in the form its generation engine reads, made once for all stages that generate with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from understudy.config.decoding import EngineName
from understudy.generation import Engine, converted_engine, open_engine
from understudy.pipeline.context import NETWORK
from understudy.store import Stage, WorkerContext


@dataclass(frozen=True)
class ConversionFacts:
    """Which engine was chosen."""

    engine: str
    passed_over: str | None = None
    """Under `auto`: why a faster engine cannot generate this network's texts."""


@dataclass(frozen=True)
class ConversionStage(Stage[ConversionFacts]):
    """The files of an engine for one network; none where the engine reads the checkpoint itself."""

    network: Stage[Any]
    engine: EngineName
    """`auto` is resolved here, by the network's config and a comparison of the result; the facts say to what."""
    name: ClassVar[str] = "conversion"
    version: ClassVar[int] = 2

    def run(self, folder: Path, context: WorkerContext) -> ConversionFacts:
        """Converts the network.

        Raises:
            GenerationError: if the requested engine does not support the network, or its conversion is wrong.
        """
        engine, passed_over = converted_engine(self.engine, context.folder(self.network) / NETWORK, folder)
        if passed_over:
            context.progress.log(f"the {self.network.title} generates with engine {engine!r}: {passed_over}")
        return ConversionFacts(engine, passed_over)


@contextmanager
def open_converted(
    stage: ConversionStage,
    context: WorkerContext,
    *,
    device: str,
    threads: int | None = None,
    compute_type: str | None = None,
) -> Iterator[Engine]:
    """The engine of a finished conversion stage; its weights are in float32 unless another type is requested."""
    with open_engine(
        context.facts(stage).engine,
        context.folder(stage.network) / NETWORK,
        workspace=context.folder(stage),
        device=device,
        threads=threads,
        dtype=compute_type or "float32",
    ) as engine:
        yield engine
