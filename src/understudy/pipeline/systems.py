"""The systems of a run by name: what each was trained as, and what it generates."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from understudy.pipeline.stages.conversion import ConversionStage
from understudy.store import Stage


@dataclass(frozen=True)
class System:
    """A system that is scored."""

    name: str
    predictions: Stage[Any]
    """Its predictions for dev and test."""
    decoding: str
    """The kind of decoding they were generated with."""
    network: Stage[Any] | None = None
    """The stage that holds its network; an API teacher has none."""
    converted: ConversionStage | None = None
    """The network in its engine's form."""


@dataclass(frozen=True)
class TrainedSystems:
    """Teacher, baseline and students of a run."""

    teacher: System
    baseline: System | None
    """The student fine-tuned on gold alone; None where there are no labels."""
    generations: tuple[Stage[Any], ...]
    """The students of earlier generations, each of which is the teacher of the next."""
    student: Stage[Any]
    """The distilled student before a final fine-tuning."""
    final: System
    """The distilled student as it is delivered."""

    @property
    def scored(self) -> tuple[System, ...]:
        """The systems of the report, in its order."""
        return tuple(self._scored())

    @property
    def local(self) -> tuple[System, ...]:
        """The systems with a network on this machine."""
        return tuple(system for system in self.scored if system.network)

    def _scored(self) -> Iterator[System]:
        yield self.teacher
        if self.baseline:
            yield self.baseline
        yield self.final
