"""`torchrun -m understudy run` on two ranks of this machine's CPU: the same run as by one process, and its end."""

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from understudy.config.read import check_recipe
from understudy.pipeline.run import Run, run
from understudy.store.disk import read_json
from understudy.store.manifest import read_manifest

KEPT = (
    "benchmark",
    "data",
    "examples",
    "metric_choice",
    "network_check",
    "teacher-",
    "text_check",
    "tokenizer",
    "training_",
)
"""Stages of one process that the run on two ranks finds: with the same teacher its texts are the same bytes."""


@pytest.fixture(scope="module")
def recipe(tiny: dict[str, Any]) -> dict[str, Any]:
    """The smallest recipe, with no dropout in the student: each number of ranks draws other numbers for it."""
    recipe = copy.deepcopy(tiny)
    recipe["student"]["scratch"]["dropout"] = 0.0
    return recipe


@pytest.fixture(scope="module")
def alone(recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of one process, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return run(check_recipe(recipe), out=tmp_path_factory.mktemp("alone"))
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def out(alone: Run, tmp_path: Path) -> Path:
    """A folder for runs with the stages that are found."""
    source = alone.folder.parent / "store"
    for stage in source.iterdir():
        if stage.is_dir() and stage.name.startswith(KEPT):
            shutil.copytree(stage, tmp_path / "runs" / "store" / stage.name)
    return tmp_path / "runs"


@contextmanager
def started(recipe: dict[str, Any], out: Path) -> Iterator[subprocess.Popen[str]]:
    """The command on two ranks, as a script starts it in the background: SIGINT is ignored."""
    file = out.parent / "tiny.json"
    file.write_text(json.dumps(recipe))
    options = ["--standalone", "--nproc-per-node", "2", "-m", "understudy", "run", str(file), "--out", str(out)]
    code = "import signal; signal.signal(2, signal.SIG_IGN); from torch.distributed.run import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                for one in psutil.Process(process.pid).children(recursive=True):
                    one.kill()
                process.kill()


def contents(out: Path, pattern: str) -> list[bytes]:
    """The files of that pattern in the store."""
    return [path.read_bytes() for path in sorted((out / "store").glob(pattern))]


def weights(out: Path, stage: str) -> torch.Tensor:
    """The weights of the network in a stage, flat."""
    (file,) = (out / "store").glob(f"{stage}-*/network/model.safetensors")
    return torch.cat([tensor.flatten().float() for _, tensor in sorted(load_file(file).items())])


def test_two_ranks_make_the_run_of_one(recipe: dict[str, Any], alone: Run, out: Path) -> None:
    """Equal pseudo-targets and log-probabilities, a student equal up to rounding, one report; both ranks worked."""
    with started(recipe, out) as process:
        printed, err = process.communicate()
    assert process.returncode == 0, err

    pools = [sorted((root / "store").glob("pseudo_target_shard-*/*.parquet")) for root in (out, alone.folder.parent)]
    assert [path.parent.name for path in pools[0]] == [path.parent.name for path in pools[1]]
    assert [path.read_bytes() for path in pools[0]] == [path.read_bytes() for path in pools[1]]
    kept = [contents(root, "teacher_logprobs-*/[!m]*") for root in (out, alone.folder.parent)]
    assert kept[0] == kept[1] != []
    for stage in ("fine_tuned", "student"):
        difference = (weights(out, stage) - weights(alone.folder.parent, stage)).abs()
        assert difference.quantile(0.99) < 1e-5, stage
    reports: list[Any] = [read_json(folder / "report.json") for folder in (out / "tiny", alone.folder)]
    assert [[one["name"] for one in report["systems"]] for report in reports] == [
        ["teacher", "fine_tuned", "joint_teaching"]
    ] * 2
    assert err.count("pseudo target shard: made by rank 1") >= 2
    assert printed.count("report: ") == 1
    assert list((out / "store").glob("*.partial")) == []


def test_the_death_of_one_rank_ends_the_other(recipe: dict[str, Any], out: Path) -> None:
    """Rank 1 is killed while all ranks train the student; finished stages are kept."""
    long = recipe["training"] | {"epochs": 1000, "evaluate_every": 1000}
    with started(recipe | {"training": long}, out) as process:
        assert process.stderr is not None
        before = list[str]()
        for line in process.stderr:
            before.append(line)
            if "distil the student" in line:
                break
        assert process.poll() is None, before
        ranks = {one.environ().get("RANK"): one for one in psutil.Process(process.pid).children() if one.is_running()}
        ranks["1"].kill()
        _, err = process.communicate(timeout=300)

    assert process.returncode == 1
    assert not ranks["0"].is_running()
    assert err.count("understudy: ") <= 1
    assert list((out / "store").glob("student-*/manifest.json")) == []
    (pool,) = (out / "store").glob("pseudo_targets-*")
    assert read_manifest(pool).shards
