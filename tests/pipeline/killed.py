"""A program that runs a recipe and is killed again and again, each time later; started by `test_kill.py`.

Each attempt is a fork of this process that sends itself SIGKILL just before the file or folder whose path contains the
given words gets its final name: the work is done, but is not recorded as done.
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


def killing_before(words: list[str], rename: Callable[..., None]) -> Callable[..., None]:
    """A rename that kills the process if the destination contains all of the words."""

    def renamed(source: str, destination: str, **how: int) -> None:
        if all(word in str(destination) for word in words):
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, destination, **how)

    return renamed


def attempt(recipe: Path, out: Path, words: list[str]) -> int:
    """One attempt in a process of its own: its exit code, or the negative number of the signal that ended it."""
    child = os.fork()
    if child == 0:
        os.rename, os.replace = killing_before(words, os.rename), killing_before(words, os.replace)
        try:
            run(check_recipe(json.loads(recipe.read_text())), out=out)
        except BaseException:  # noqa: BLE001 - the test shows it, whatever it is
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    recipe_file, runs, points = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    print(json.dumps([attempt(recipe_file, runs, words) for words in points]))  # noqa: T201 - the test reads it
