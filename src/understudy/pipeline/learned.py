"""What a recipe's networks have learned and answered, before anything is measured or told."""

from collections.abc import Mapping
from dataclasses import dataclass

from understudy.pipeline.bench import Bench
from understudy.pipeline.measure import make_answers
from understudy.pipeline.readers import Reader
from understudy.records import TaskData
from understudy.store import Finished


@dataclass(frozen=True)
class Learned:
    """The systems of a run, and the stages they came from."""

    stages: Mapping[str, Finished]
    """All there are so far, in the order in which they were asked for."""
    shipped: Mapping[str, Finished]
    """System -> the stage that holds its network as it is delivered; a teacher behind an endpoint has none."""
    answers: Mapping[str, Finished]
    """System -> the stage of what it writes for dev and test."""
    readers: Mapping[str, Reader]
    """System with a network -> how it reads."""
    data: TaskData
    """Without what is over the length limits."""


def make_shipped_answers(
    bench: Bench, shipped: Mapping[str, Finished], readers: Mapping[str, Reader], data: TaskData
) -> dict[str, Finished]:
    """System -> the stage of what it writes for dev and test."""
    return {name: make_answers(bench, name, stage, readers[name], data) for name, stage in shipped.items()}
