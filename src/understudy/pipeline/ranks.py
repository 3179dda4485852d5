"""How the processes that `torchrun` starts find each other: a group for gradients, a store for messages, a GPU each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from understudy.errors import ConfigError
from understudy.executors._ranks import Messages, ended_together
from understudy.ranks import Ranks

PATIENCE = timedelta(days=30)
"""How long a rank waits for the others: while rank 0 generates student samples they wait for hours."""
VISIBLE = "CUDA_VISIBLE_DEVICES"


@contextmanager
def connected_ranks(ranks: Ranks) -> Iterator[Messages]:
    """Within, this process is a rank of the group, and the failure of one ends all.

    Raises:
        ConfigError: if this machine has fewer GPUs than ranks.
    """
    store, _, _ = next(iter(dist.rendezvous("env://", timeout=PATIENCE)))  # type: ignore[attr-defined]  # no __all__
    messages: Messages = dist.PrefixStore("understudy", store)  # type: ignore[attr-defined, assignment]  # it takes bytes
    with ended_together(messages):
        choose_gpu(ranks)
        # Gradients are where the weights are; what Python objects become is sent from the CPU.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        group = dist.PrefixStore("group", store)  # type: ignore[attr-defined]  # no __all__
        dist.init_process_group(backend, store=group, rank=ranks.rank, world_size=ranks.size, timeout=PATIENCE)
        yield messages
        dist.destroy_process_group()


def choose_gpu(ranks: Ranks) -> None:
    """Makes the rank's GPU the only one that this process and its children see, before anything uses CUDA.

    The device "cuda" in the fields of a stage is then another GPU on each rank, for every library.

    Raises:
        ConfigError: if there are GPUs, but none for this rank.
    """
    gpus = torch.cuda.device_count()
    if not gpus:
        return
    if ranks.local_rank >= gpus:
        raise ConfigError(
            f"rank {ranks.rank} is process {ranks.local_rank + 1} on its machine, which has {gpus} GPUs; start at most "
            f"one process for each (--nproc-per-node {gpus})"
        )
    visible = os.environ.get(VISIBLE, "").split(",")
    os.environ[VISIBLE] = visible[ranks.local_rank] if len(visible) == gpus and visible[0] else str(ranks.local_rank)
