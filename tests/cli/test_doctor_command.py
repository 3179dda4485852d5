"""`understudy doctor`: what this machine has, and how what is missing is installed."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.cli.conftest import Command

ROOT = Path(__file__).parents[2]


def test_the_tables_name_packages_extras_machine_and_engines(understudy: Command, tmp_path: Path) -> None:
    """Exit code 0 where a run is possible."""
    code, out, err = understudy("doctor", "--out", tmp_path / "runs")

    assert (code, err) == (0, "")
    (torch,) = (line.split() for line in out.splitlines() if line.split()[:1] == ["torch"])
    assert version("torch") in torch
    for word in ("peft", "processor", "precision: auto", "ctranslate2", str(tmp_path / "runs" / "store")):
        assert word in out
    assert not (tmp_path / "runs").exists()


def test_json_has_the_same_facts(understudy: Command, tmp_path: Path) -> None:
    """One object, for scripts."""
    code, out, _ = understudy("doctor", "--json", "--out", tmp_path)
    found = json.loads(out)

    assert code == 0
    assert found["installation"]["problem"] is None
    assert {one["name"]: one["installed"] for one in found["installation"]["packages"]}["torch"] == version("torch")
    assert found["machine"]["cores"] == len(os.sched_getaffinity(0))


def test_a_missing_core_package_is_one_sentence(tmp_path: Path) -> None:
    """Exit code 1; the packages are listed, and no library is loaded to look at the machine."""
    (tmp_path / "src").symlink_to(ROOT / "src")
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(declared.replace('"torch>=2.6"', '"torch>=999"'))
    done = subprocess.run(
        [sys.executable, "-m", "understudy", "doctor"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "transformers" in done.stdout
    assert "processor" not in done.stdout
    (sentence,) = done.stderr.splitlines()
    assert all(fact in sentence for fact in ("torch>=999", version("torch"), "pip install -c constraints.txt -e '.'"))
