"""Starts and ends the machines of a Ray cluster on this one, each a group of processes."""

import os
import re
import signal
import subprocess
import sys
import tempfile

RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
MEMORY = ["--object-store-memory", "80000000"]


class Machine:
    """A head, or a machine that joins the cluster at an address."""

    def __init__(self, *, cpus: int, join: str | None = None) -> None:
        # Not pytest's folder: the path of a socket in it may have at most 107 bytes.
        self.folder = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
        place = ["--address", join] if join else ["--head", "--port", "0", "--include-dashboard=false"]
        temporary = [] if join else ["--temp-dir", self.folder.name]
        self.process = subprocess.Popen(
            [*RAY, *place, *temporary, *MEMORY, "--num-cpus", str(cpus)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"},
        )
        self.address = join or ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"--address='([\d.:]+)'", line):
                self.address = found[1]
            if "To terminate the Ray runtime" in line:
                return
        self.folder.cleanup()
        raise AssertionError("the machine ended before it was ready")

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends its processes; SIGKILL is a machine without power."""
        if how is signal.SIGKILL:
            os.killpg(self.process.pid, how)
        else:
            self.process.send_signal(how)
        self.process.communicate(timeout=120)
        self.folder.cleanup()
