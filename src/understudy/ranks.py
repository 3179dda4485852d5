"""Ranks: the processes that `torchrun` starts for one command, one for each device.

This module knows their numbers only. What they exchange in a training is in `training.reduction`, how they share the
stages of a run in `executors._ranks`, and how they find each other in `pipeline.ranks`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from understudy.errors import ConfigError

T = TypeVar("T")
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
"""What `torchrun` sets in the environment of each process it starts."""


@dataclass(frozen=True)
class Ranks:
    """The number of this process, and of how many."""

    rank: int
    size: int
    local_rank: int = 0
    """Its number on its machine, and so the number of its GPU."""

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which alone writes checkpoints, progress and the run's folder."""
        return self.rank == 0


ALONE = Ranks(0, 1)


def items_of_rank(items: Sequence[T], ranks: Ranks) -> Sequence[T]:
    """The items of this rank: every `size`-th, so that items sorted by length are shared evenly."""
    return items[ranks.rank :: ranks.size] if ranks.size > 1 else items


def ranks_of_environment(environment: Mapping[str, str] = os.environ) -> Ranks:
    """The rank that `torchrun` gave this process; alone where it was started in another way.

    Raises:
        ConfigError: if a variable is no number, or the numbers contradict each other.
    """
    given = {name: environment[name] for name in VARIABLES if name in environment}
    if len(given) < len(VARIABLES):
        return ALONE
    try:
        rank, size, local_rank = (int(given[name]) for name in VARIABLES)
    except ValueError:
        rank, size, local_rank = 0, 0, 0
    if not (0 <= rank < size and 0 <= local_rank < size):
        found = ", ".join(f"{name}={value}" for name, value in given.items())
        raise ConfigError(f"the environment has {found}, which names no rank; unset these variables or use torchrun")
    return Ranks(rank, size, local_rank)
