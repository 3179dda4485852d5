"""Damages finished files one at a time, and runs every command that reads them.

A command may refuse in one sentence that names the damaged stage and the way out, or print what it prints without the
damage; `store check` must name each damaged stage.
"""

import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.torture_forks import Ended, run_command

Expect = Callable[[bool, str], None]
REMEDY = re.compile(r"run (the|its) recipe again|move it away")
REWRITTEN = {"report.html", "report.json", "recipe.yaml", "stages.json"}
"""Files of a run's folder, which `run` writes again."""


def flip(content: bytes, chance: random.Random) -> bytes:
    """Another byte somewhere."""
    place = chance.randrange(len(content))
    return content[:place] + bytes([content[place] ^ chance.randint(1, 255)]) + content[place + 1 :]


def letter(content: bytes, chance: random.Random) -> bytes:
    """Another letter in place of a letter: text stays text."""
    places = [found.start() for found in re.finditer(rb"[a-z]", content)]
    if not places:
        return flip(content, chance)
    place = chance.choice(places)
    other = chance.choice(bytes(set(b"abcdefghijklmnopqrstuvwxyz") - {content[place]}))
    return content[:place] + bytes([other]) + content[place + 1 :]


def zero(content: bytes, _chance: random.Random) -> bytes:
    """Zeros in the second half."""
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


def cut(content: bytes, chance: random.Random) -> bytes:
    """Only a beginning."""
    return content[: chance.randrange(len(content))]


def append(content: bytes, _chance: random.Random) -> bytes:
    """Something at the end."""
    return content + b"\n{}"


def delete(_content: bytes, _chance: random.Random) -> None:
    """No file."""


DAMAGES = (flip, letter, zero, cut, append, delete)


def damage_runs(
    runs: Mapping[str, tuple[Path, Path, str]], work: Path, damages: int, seed: int, expect: Expect
) -> Counter[str]:
    """Damages files of finished runs.

    Args:
        runs: the folder of the runs, the recipe and the name of the run, by kind.
        work: where each run is copied before it is damaged: a copied run stays valid.
        damages: how many, in turn over the kinds.
        seed: of the choice of files and damages.
        expect: is told what must hold, and a sentence if it does not.

    Returns:
        What became of the damages: kind of damage and of outcome -> how many.
    """
    found: Counter[str] = Counter()
    intact = {}
    for kind, (folder, recipe, run) in runs.items():
        _run_all(folder, recipe, run)  # diagnoses are made once
        shutil.copytree(folder, work / kind, symlinks=True)
        intact[kind] = _run_all(work / kind, recipe, run)
        shutil.rmtree(work / kind)
    for number in range(damages):
        chance = random.Random(f"{seed} damage {number}")
        kind = list(runs)[number % len(runs)]
        folder, recipe, run = runs[kind]
        copy = work / kind
        shutil.copytree(folder, copy, symlinks=True)
        path = chance.choice([one for one in _files(copy / "runs", run) if one.stat().st_size])
        harm = chance.choice(DAMAGES)
        before = path.read_bytes()
        after = harm(before, chance)
        path.unlink()
        if after is not None:
            path.write_bytes(after)
        if after != before:
            what = f"{kind}, {harm.__name__} {path.relative_to(copy)}"
            found[_judge(what, path, intact[kind], _run_all(copy, recipe, run), expect)] += 1
        shutil.rmtree(copy)
        if (number + 1) % 20 == 0:
            print(f"{number + 1} of {damages} damages", flush=True)
    return found


def _files(runs: Path, run: str) -> list[Path]:
    own = [path for path in (runs / run).iterdir() if path.name in REWRITTEN]
    return sorted(own) + sorted(path for path in (runs / "store").rglob("[!.]*") if path.is_file())


def _run_all(folder: Path, recipe: Path, run: str) -> dict[str, Ended]:
    """Every command that reads a finished run, those that write last; the diagnosis of an API teacher is refused."""
    runs = folder / "runs"
    place = str(runs / run)
    commands = {
        "store check": ["store", "check", "--out", str(runs)],
        "evaluate": ["evaluate", place],
        "pool show": ["pool", "show", place, "--limit", "3"],
        "diagnose": ["diagnose", place, "--inputs", "2", "--quiet"],
        "report": ["report", place],
        "run": ["run", str(recipe), "--out", str(runs), "--quiet"],
    }
    return {name: run_command(arguments, folder) for name, arguments in commands.items()}


def _judge(what: str, path: Path, intact: Mapping[str, Ended], damaged: Mapping[str, Ended], expect: Expect) -> str:
    """What became of a damage: how many commands refused it."""
    in_store = "store" in path.parts
    stage = next((part for part in path.parts if re.fullmatch(r"[a-z_]+-[0-9a-f]{16}", part)), path.name)
    refusals = [name for name, ended in damaged.items() if ended.code and ended.out + ended.err != _said(intact[name])]
    for name, ended in damaged.items():
        expect("Traceback" not in ended.err, f"{what}: {name} ends with a traceback: {ended.err[-800:]}")
        if name in refusals:
            named = stage in ended.err or path.name in ended.err
            expect(named and bool(REMEDY.search(ended.err)), f"{what}: {name} says {ended.err!r}")
            expect(ended.err.strip().count("\n") == 0, f"{what}: {name} says more than one sentence: {ended.err!r}")
        else:
            expect((ended.code, ended.out) == (intact[name].code, intact[name].out), f"{what}: {name} is silent")
    if in_store:
        expect("store check" in refusals, f"{what}: store check is silent: {damaged['store check'].out}")
        return f"refused by {len(refusals)} commands"
    repaired = path.exists() and damaged["run"].code == 0
    expect(repaired, f"{what}: run does not write it again: {damaged['run'].err}")
    return f"refused by {len(refusals)} commands and written again" if refusals else "written again"


def _said(ended: Ended) -> str:
    return ended.out + ended.err
