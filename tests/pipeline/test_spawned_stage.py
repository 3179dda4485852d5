"""A stage that is made in a spawned process has the bytes of the one made here."""

import json
from pathlib import Path
from typing import Any

import pytest

from understudy.config.read import check_recipe
from understudy.executors.processes import Processes
from understudy.pipeline.build import build_run
from understudy.pipeline.context import STORE, run_context
from understudy.pipeline.run import Run
from understudy.progress import NoProgress
from understudy.store.disk import checksums
from understudy.store.manifest import MANIFEST, read_manifest

TIMED = {MANIFEST, "training.json"}
"""Files that say how long something took."""


@pytest.fixture(scope="module")
def spawned(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the tiny recipe, whose teacher, pseudo-targets and predictions a worker with one thread makes."""
    out = tmp_path_factory.mktemp("spawned")
    context = run_context(out, NoProgress())
    stages = build_run(check_recipe(tiny), context)
    assert stages.systems.baseline is not None
    wanted = [
        stages.systems.teacher.predictions,
        stages.systems.baseline.predictions,
        *filter(None, [stages.scores.pool]),
    ]
    outcomes = context.store.get_all(wanted, Processes(1, threads=1), context)

    assert {outcome for outcome in outcomes.values() if outcome != "made"} == set()
    return out / STORE


@pytest.mark.parametrize(
    ("name", "number", "file"),
    [
        ("teacher", 1, "network/model.safetensors"),
        ("fine_tuned", 1, "network/model.safetensors"),
        ("conversion", 2, "ctranslate2/model.bin"),
        ("pseudo_target_shard", 6, ".parquet"),
        ("pseudo_targets", 1, "json"),
        ("predictions", 2, "test.jsonl"),
    ],
)
def test_a_spawned_stage_has_the_same_bytes(finished: Run, spawned: Path, name: str, number: int, file: str) -> None:
    """And the same facts, but for the time it took."""
    folders = sorted(spawned.glob(f"{name}-*"))
    here = finished.folder.parent / STORE

    assert len([folder for folder in folders if (folder / MANIFEST).is_file()]) == number
    for folder in folders:
        own, same = (without_times(place) for place in (folder, here / folder.name))
        assert any(path.endswith(file) for path in own)
        assert own == same
        assert facts(folder) == facts(here / folder.name)


def without_times(folder: Path) -> dict[str, str]:
    """Path of each file that has no time in it -> its checksum."""
    return {path: digest for path, digest in checksums(folder).items() if path not in TIMED}


def facts(folder: Path) -> object:
    """The facts of a finished stage without seconds, however deep."""

    def without_seconds(value: Any) -> Any:  # noqa: ANN401 - plain data
        if isinstance(value, dict):
            return {name: without_seconds(own) for name, own in value.items() if name != "seconds"}
        return [without_seconds(own) for own in value] if isinstance(value, list | tuple) else value

    manifest = read_manifest(folder)
    plain = json.loads(json.dumps(dict(manifest.facts)))
    return without_seconds([plain, dict(manifest.inputs), list(manifest.shards), dict(manifest.fields)])
