"""What the machine has, compared with what the system and the libraries say."""

import os
from importlib.metadata import version
from pathlib import Path

import ctranslate2
import pytest

from understudy.generation import ENGINES
from understudy.pipeline.context import default_device, resolve_precision
from understudy.pipeline.machine import machine_facts


def test_the_facts_are_those_of_the_system(tmp_path: Path) -> None:
    """Cores, memory and the disk of a store that does not exist yet; nothing is made."""
    found = machine_facts(tmp_path / "runs")

    assert found.cores == len(os.sched_getaffinity(0))
    assert found.memory_bytes == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert found.store == str(tmp_path / "runs" / "store")
    assert 0 < found.free_disk_bytes <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize
    assert list(tmp_path.iterdir()) == []


def test_precision_and_engines_are_what_a_run_uses(tmp_path: Path) -> None:
    """The same functions decide; each engine has the version of its library and its types of weights."""
    found = machine_facts(tmp_path)
    engines = {one.name: one for one in found.engines}

    assert (found.device, found.precision) == (default_device(), resolve_precision("auto"))
    assert engines["ctranslate2"].version == ctranslate2.__version__
    assert set(engines["ctranslate2"].types["cpu"]) == ctranslate2.get_supported_compute_types("cpu")
    assert (engines["hf"].library, engines["hf"].version) == ("transformers", version("transformers"))
    assert "float32" in engines["hf"].types[found.device]
    assert engines["endpoint"].library == "openai"
    for name, entry in ENGINES.items():
        assert engines[name].unavailable == entry.unavailable()
        assert bool(engines[name].types) == (engines[name].unavailable is None)


def test_unused_cores_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that limits the threads is a common reason for a slow run."""
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("a machine with one core leaves none unused")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = machine_facts(tmp_path)

    assert found.threads == 1
    assert any("OMP_NUM_THREADS" in note and f"1 of {found.cores} cores" in note for note in found.notes)
