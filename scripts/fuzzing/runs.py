"""Finished runs: an intact one is opened with the same facts, a damaged one is refused or written again."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st
from scripts.fuzzing.damages import Damage, damages
from scripts.fuzzing.oracle import FAST_FOLDER, VALID, Case, Domain
from scripts.fuzzing.texts import Draw

from understudy.pipeline.delivery import guarded
from understudy.pipeline.inspect.open import open_run
from understudy.pipeline.run_record import RECIPE_FILE, STAGES
from understudy.report.facts import write_facts
from understudy.report.page import REPORT
from understudy.store.manifest import read_manifest


def opened(folder: Path) -> object:
    """The facts of a run, after every stage of it was read, and the report that is written again."""
    run = open_run(folder)
    for label in run.stages:
        run.stage(label)
    with guarded(run.folder):
        write_facts(run.facts, run.folder / REPORT)
    return run.facts, (folder / REPORT).read_bytes()


def files_of(finished: Path) -> Sequence[str]:
    """The files of a run's stages, and its own but the page, whose figures take a second."""
    folders = list(open_run(finished).stages.values())
    folders += [folder.parent / shard for folder in folders for shard in read_manifest(folder).shards]
    stored = [path for folder in sorted(set(folders)) for path in sorted(folder.rglob("*")) if path.is_file()]
    own = [finished / name for name in (STAGES, RECIPE_FILE, REPORT)]
    return [str(path.relative_to(finished.parent)) for path in (*own, *stored)]


def domain(finished: Path) -> Domain:
    """Damages of a finished run.

    Args:
        finished: the run's folder, next to its store; both are copied.
    """
    copied = tempfile.TemporaryDirectory(dir=FAST_FOLDER)
    atexit.register(copied.cleanup)
    shutil.copytree(finished.parent, Path(copied.name) / "intact", symlinks=True)
    finished = Path(copied.name).resolve() / "intact" / finished.name
    expected, files = opened(finished), files_of(finished)

    @st.composite
    def runs(draw: Draw) -> Case:
        damage: Damage | None = draw(st.none() | damages(files))

        def read(folder: Path) -> object:
            out = folder / finished.parent.name
            # Damages replace files, so the copies may share the bytes of all others.
            shutil.copytree(finished.parent, out, symlinks=True, copy_function=os.link)
            if damage:
                damage.apply(out)
            return opened(out / finished.name)

        label = damage.label(finished.parent) if damage else VALID
        return Case(label, read, expected, damage, may_be_repaired=bool(damage and damage.file.endswith(REPORT)))

    return Domain("runs", runs())
