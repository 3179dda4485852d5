"""A program that runs a recipe and is killed again and again; started by `test_kill.py`.

A point is some words of a path. Each attempt is a fork of this process that sends itself SIGKILL just before a file or
folder whose path contains all words of a point gets its final name: the work is done, but is not recorded as done. The
next attempt passes this point. The program prints the points in the order in which they were reached, and the exit code
of the attempt that was not killed.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from understudy.config.read import check_recipe
from understudy.pipeline.run import run


def killing_before(points: list[list[str]], rename: Callable[..., None], reached: int) -> Callable[..., None]:
    """A rename that kills the process if the destination contains all words of a point, whose index it reports."""

    def renamed(source: str, destination: str, **how: int) -> None:
        for i, words in enumerate(points):
            if all(word in str(destination) for word in words):
                os.write(reached, b"%d" % i)
                os.kill(os.getpid(), signal.SIGKILL)
        rename(source, destination, **how)

    return renamed


def attempt(recipe: Path, out: Path, points: list[list[str]]) -> tuple[int, list[str] | None]:
    """One attempt in a process of its own: its exit code (minus the number of a signal), and the point it reached."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.rename = killing_before(points, os.rename, writing)
        os.replace = killing_before(points, os.replace, writing)
        try:
            run(check_recipe(json.loads(recipe.read_text())), out=out)
        except BaseException:  # noqa: BLE001 - the test shows it, whatever it is
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        reached = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), points[int(reached)] if reached else None


def attempts(recipe: Path, out: Path, points: list[list[str]]) -> tuple[list[list[str]], int]:
    """The points in the order in which they were reached, and the exit code of the attempt that reached none."""
    passed: list[list[str]] = []
    while True:
        code, reached = attempt(recipe, out, [words for words in points if words not in passed])
        if code != -signal.SIGKILL or reached is None:
            return passed, code
        passed.append(reached)


if __name__ == "__main__":
    print(json.dumps(attempts(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))))  # noqa: T201 - the test reads it
