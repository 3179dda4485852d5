"""The command `understudy serve` as a process, with what the system knows of it: memory, time on CPUs, workers."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import psutil


@dataclass(frozen=True)
class ServerProcess:
    """A server that accepts connections."""

    process: subprocess.Popen[str]
    url: str
    log: Path
    """What it writes to standard error after its first line."""
    copying: subprocess.Popen[bytes]
    """The process that writes the log; it ends after the server."""

    @property
    def port(self) -> int:
        """The port of its socket."""
        return int(self.url.removesuffix("/v1").rpartition(":")[2])

    def workers(self) -> set[int]:
        """The processes that it started to answer requests."""
        children = psutil.Process(self.process.pid).children()
        alive = (child for child in children if child.status() != psutil.STATUS_ZOMBIE)
        return {child.pid for child in alive if "spawn_main" in " ".join(child.cmdline())}

    def answered(self) -> set[str]:
        """The ids of the requests with status 200 in the log of a server that has ended."""
        self.copying.wait()
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return {line["id"] for line in lines if line["status"] == HTTPStatus.OK}

    def memory(self) -> int:
        """Resident bytes of all its processes."""
        return sum(process.memory_info().rss for process in self._all())

    def cpu_seconds(self) -> float:
        """Time that all its processes spent on CPUs."""
        return sum(sum(process.cpu_times()[:2]) for process in self._all())

    def _all(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]


@contextmanager
def server_process(run: Path, *options: str) -> Iterator[ServerProcess]:
    """Serves a run on a free port within the context."""
    command = [sys.executable, "-m", "understudy", "serve", str(run), "--port", "0", *options]
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as own:
        assert own.stderr is not None
        first = own.stderr.readline()
        if " at http" not in first:
            raise SystemExit(first + own.stderr.read())
        log = Path(folder) / "log"
        with (
            log.open("w") as file,
            # It empties the pipe without a thread of this process, which may be busy.
            subprocess.Popen(["cat"], stdin=own.stderr, stdout=file) as copying,  # noqa: S607
        ):
            try:
                yield ServerProcess(own, first.partition(" at ")[2].partition(",")[0], log, copying)
            finally:
                stop(own)
                copying.wait()


def stop(process: subprocess.Popen[str]) -> int:
    """Ends a server by a signal, or what is left of it without one, and returns its exit code."""
    process.terminate()
    try:
        return process.wait(90)
    except subprocess.TimeoutExpired:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        return process.wait()
