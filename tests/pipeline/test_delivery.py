"""The run's folder: what is never overwritten, what is refused before the run, and copies that stand alone."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSeq2SeqLM

from understudy.config.read import check_recipe
from understudy.errors import StoreError
from understudy.pipeline.inspect.compare import score_split
from understudy.pipeline.inspect.diagnose import diagnose
from understudy.pipeline.inspect.open import open_pool, open_run
from understudy.pipeline.run import Run, run
from understudy.pipeline.run_record import PLANNED, STAGES, needed_by_runs
from understudy.store.disk import checksums

PREPARED = {"data", "tokenizer", "examples", "metric_choice"}
"""Stages that take seconds and are made before the run's folder is checked."""


def made(out: Path) -> set[str]:
    """The names of the stages in a store."""
    return {path.parent.name.rpartition("-")[0] for path in (out / "store").glob("*/manifest.json")}


@pytest.mark.parametrize("name", ["data", "student", "report.html", "recipe.yaml"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_file_or_folder_of_the_user_is_never_replaced(
    tiny: dict[str, Any], tmp_path: Path, name: str, kind: str
) -> None:
    """The run is refused before anything is trained, and what is there stays."""
    own = tmp_path / "runs" / "tiny" / name
    own.parent.mkdir(parents=True)
    if kind == "folder":
        own.mkdir()
        (own / "work.txt").write_text("mine")
    else:
        own.write_text("mine")

    with pytest.raises(StoreError, match=rf"{re.escape(str(own))}, which is a {kind}.*move it away.*another name"):
        run(check_recipe(tiny), out=tmp_path / "runs")
    assert (own / "work.txt" if kind == "folder" else own).read_text() == "mine"
    assert made(tmp_path / "runs") <= PREPARED


def test_links_that_a_run_made_are_replaced(finished: Run, tiny: dict[str, Any], tmp_path: Path) -> None:
    """Also those that lead nowhere; files that the user added to the folder stay."""
    shutil.copytree(finished.folder.parent, tmp_path / "runs", symlinks=True)
    folder = tmp_path / "runs" / "tiny"
    (folder / "notes.txt").write_text("mine")
    (folder / "teacher").unlink()
    (folder / "teacher").symlink_to("nowhere")
    run(check_recipe(tiny), out=tmp_path / "runs")

    assert (folder / "teacher" / "network").is_dir()
    assert (folder / "notes.txt").read_text() == "mine"
    assert not [path for path in folder.iterdir() if path.suffix == ".partial"]


def test_an_interrupted_run_has_recorded_what_it_needs(
    finished: Run, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is trained, the checks included; the record of the finished run replaces it."""

    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("understudy.pipeline.run._make", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(check_recipe(tiny), out=tmp_path / "runs")
    need = needed_by_runs(tmp_path / "runs")["tiny"]

    assert need.interrupted
    checks = {path.name for path in (finished.folder.parent / "store").glob("[!.]*_check-*")}
    checks |= {path.name for path in (finished.folder.parent / "store").glob("training_steps-*")}
    assert len(checks) >= 5
    assert need.stages == {folder.name for folder in finished.stages.values()} | checks
    assert not needed_by_runs(finished.folder.parent)["tiny"].interrupted
    assert needed_by_runs(finished.folder.parent)["tiny"].stages == need.stages
    assert (tmp_path / "runs" / "tiny" / PLANNED).exists()
    assert not (finished.folder / PLANNED).exists()


def test_runs_that_deliver_at_once_wait_for_each_other(finished: Run, tiny: dict[str, Any], tmp_path: Path) -> None:
    """Whichever is last, the folder is complete."""
    shutil.copytree(finished.folder.parent, tmp_path / "runs", symlinks=True)
    shutil.rmtree(tmp_path / "runs" / "tiny")
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(run, check_recipe(tiny), out=tmp_path / "runs", copy=True) for _ in range(4)]

    assert all(one.result().facts["systems"] == finished.facts["systems"] for one in done)
    assert open_run(tmp_path / "runs" / "tiny").facts["systems"] == finished.facts["systems"]
    assert not list((tmp_path / "runs" / "tiny").rglob("*.partial"))


def test_a_copied_run_stands_alone(finished: Run, tiny: dict[str, Any], tmp_path: Path) -> None:
    """With `copy` the folder holds its stages: moved away from the store, everything still works."""
    shutil.copytree(finished.folder.parent, tmp_path / "runs", symlinks=True)
    run(check_recipe(tiny), out=tmp_path / "runs", copy=True)
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    shutil.move(tmp_path / "runs" / "tiny", moved)
    shutil.rmtree(tmp_path / "runs")
    opened = open_run(moved)

    assert opened.facts["systems"] == finished.facts["systems"]
    assert checksums(moved / "student") == checksums(finished.folder / "student")
    assert AutoModelForSeq2SeqLM.from_pretrained(moved / "student").num_parameters() > 0
    assert {name: [one.value for one in own] for name, own in score_split(moved).items()} == {
        name: [one.value for one in own] for name, own in score_split(finished.folder).items()
    }
    moved_pool, pool = (open_pool(folder, student=False)[0] for folder in (moved, finished.folder))
    assert list(moved_pool.texts) == list(pool.texts)
    assert diagnose(moved, inputs=2)["inputs"] == 2
    assert list((tmp_path / "elsewhere").iterdir()) == [moved]


def test_the_same_run_without_copies_links_to_the_store_again(
    finished: Run, tiny: dict[str, Any], tmp_path: Path
) -> None:
    """The record says which store holds."""
    shutil.copytree(finished.folder.parent, tmp_path / "runs", symlinks=True)
    for copy, store in ((True, tmp_path / "runs" / "tiny" / "store"), (False, tmp_path / "runs" / "store")):
        run(check_recipe(tiny), out=tmp_path / "runs", copy=copy)
        assert open_run(tmp_path / "runs" / "tiny").store == store
        assert (tmp_path / "runs" / "tiny" / STAGES).is_file()
