"""The connection to a Ray cluster, its machines, and what one stage takes of a machine.

Only this module and `executors.ray` use Ray, an extra, which is imported where it is used.
"""

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from understudy.errors import ConfigError, first_line

RAY_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""No usage report, and no warning about the variables of GPUs."""
ANSWER_S = 10.0
"""How long the head may take to answer."""
PASSED_ON = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY",)
"""Variables of the caller that workers have too."""


@contextmanager
def cluster_connection() -> Iterator[None]:
    """A connection to the cluster that `RAY_ADDRESS` names, or to the one of this machine; an open one is used.

    Raises:
        ConfigError: if Ray is not installed or no cluster answers.
    """
    ray = library()
    if ray.is_initialized():
        yield
        return
    connect()
    try:
        yield
    finally:
        ray.shutdown()


def connect() -> None:
    """Connects this process to the cluster until it ends.

    Raises:
        ConfigError: as `cluster_connection`.
    """
    ray = library()
    if ray.is_initialized():
        return
    os.environ.update(RAY_SETTINGS)
    before = signal.getsignal(signal.SIGTERM)  # Ray sets one of its own
    named = os.environ.get("RAY_ADDRESS")
    try:
        if named:
            _require_answer(named)
        ray.init(address="auto", configure_logging=False, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        where = f"RAY_ADDRESS is {named}" if named else "RAY_ADDRESS is not set, and none runs on this machine"
        raise ConfigError(
            f"executor ray found no cluster ({where}: {first_line(error)}); start one with ray start --head "
            "(docs/cluster.md), or use --executor processes"
        ) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _require_answer(address: str) -> None:
    """Ray itself would try for minutes.

    Raises:
        OSError: if nothing answers there.
        ValueError: if the address is not a host and a port.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise ValueError("an address is host:port, such as 10.0.0.1:6379")
    socket.create_connection((host, int(port)), timeout=ANSWER_S).close()


def library() -> Any:  # noqa: ANN401 - a module
    """The module `ray`.

    Raises:
        ConfigError: if it is not installed.
    """
    if find_spec("ray") is None:
        raise ConfigError(
            "executor ray needs the library ray, which is not installed; pip install 'understudy[ray]', or use "
            "--executor processes"
        )
    import ray

    return ray


def machines() -> list[Mapping[str, float]]:
    """The resources of each machine that is there now."""
    import ray

    return [one["Resources"] for one in ray.nodes() if one["Alive"]]


def worker_environment(cores: int) -> dict[str, str]:
    """The environment of a worker, which libraries read when it imports them."""
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {"OMP_NUM_THREADS": str(cores), **passed}


@dataclass(frozen=True)
class MachineShare:
    """What one stage takes of a machine."""

    cores: int
    gpus: float = 0

    def room(self, machines: Sequence[Mapping[str, float]]) -> int:
        """How many stages run side by side on these machines; at least one, which waits for a machine to join."""
        return max(1, sum(int(one.get("CPU", 0)) // self.cores for one in machines))


def machine_share(machines: Sequence[Mapping[str, float]], workers: int) -> MachineShare:
    """The share of one of `workers` stages on the smallest machine.

    Args:
        machines: the resources of each, `CPU` and `GPU`. Those without CPUs, as a head may be, make no stages.
        workers: stages per machine.

    Raises:
        ConfigError: if some machines have GPUs and others none.
    """
    makers = [one for one in machines if one.get("CPU")]
    gpus = sorted(one.get("GPU", 0) for one in makers) or [0]
    if gpus[-1] and not gpus[0]:
        raise ConfigError(
            f"the cluster has machines with up to {gpus[-1]:g} GPUs and machines with none, so a stage's device would "
            "depend on where it runs; start those that are to make no stages with --num-cpus 0"
        )
    cores = int(min((one["CPU"] for one in makers), default=1)) // workers
    # Ray hands out fractions of one GPU, or whole ones.
    return MachineShare(max(1, cores), gpus[0] // workers if gpus[0] >= workers else gpus[0] / workers)
