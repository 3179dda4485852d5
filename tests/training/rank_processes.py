"""Two processes that are the ranks of a gloo group, for the tests of trainings on several ranks.

They load the libraries once and run one function after another, which must be defined at the top of a module.
"""

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from understudy.ranks import Ranks

SIZE = 2


class RankProcesses:
    """The pipes to both processes."""

    def __init__(self, pipes: list[Connection]) -> None:
        self.pipes = pipes

    def __call__(self, function: Callable[..., Any], *arguments: object) -> list[Any]:
        """What the function returned on each rank, or the error it raised; it is called with the ranks first."""
        for pipe in self.pipes:
            pipe.send_bytes(pickle.dumps((function, arguments)))  # `send` would share the memory of tensors
        return [pickle.loads(pipe.recv_bytes()) for pipe in self.pipes]  # noqa: S301 - from our own process


@contextmanager
def rank_processes(folder: Path) -> Iterator[RankProcesses]:
    """Starts the processes, which meet in a file of the folder, and ends them."""
    spawn = get_context("spawn")
    pairs = [spawn.Pipe() for _ in range(SIZE)]
    meeting = f"file://{folder / 'meeting'}"
    started = [spawn.Process(target=_serve, args=(pairs[rank][1], rank, meeting), daemon=True) for rank in range(SIZE)]
    for process, (_, theirs) in zip(started, pairs, strict=True):
        process.start()
        theirs.close()  # so that a process that dies ends its pipe, and no test waits for it
    try:
        yield RankProcesses([ours for ours, _ in pairs])
    finally:
        for process in started:
            process.kill()
            process.join()


def _serve(pipe: Connection, rank: int, meeting: str) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=SIZE)
    while True:
        function, arguments = pickle.loads(pipe.recv_bytes())  # noqa: S301 - from our own process
        result: object
        try:
            result = function(Ranks(rank, SIZE, rank), *arguments)
        except Exception as error:  # noqa: BLE001 - the test checks it
            result = error
        pipe.send_bytes(pickle.dumps(result))
