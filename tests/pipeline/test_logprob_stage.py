import shutil
from pathlib import Path
from typing import Any

import pytest

from understudy.config.read import check_recipe
from understudy.errors import PoolError
from understudy.pipeline.run import Run, run


def again(tiny: dict[str, Any], out: Path, **distil: object) -> Run:
    """The finished recipe with other settings, over the same store."""
    recipe = {**tiny, "name": "again", "distil": {**tiny["distil"], **distil}}
    return run(check_recipe(recipe), out=out)


def test_methods_share_what_the_teacher_said(finished: Run, tiny: dict[str, Any], out: Path) -> None:
    """Joint-Teaching by another divergence asks the teacher nothing it was asked before; fewer kept tokens do."""
    other = again(tiny, out, method="f_distill_js")
    fewer = again(tiny, out, teacher_logprobs={"kind": "sparse", "top": 3})

    def asked(done: Run) -> dict[str, str]:
        inputs = done.stages[done.facts["method"]].manifest.inputs
        return {name: key for name, key in inputs.items() if name.startswith("signal_")}

    assert set(asked(finished)) == {"signal_gold", "signal_teacher"}
    assert asked(other) == asked(finished)
    assert not set(asked(fewer).values()) & set(asked(finished).values())


def test_a_signal_says_what_it_keeps(finished: Run, out: Path) -> None:
    """How many texts and positions, at how many bytes, and the mean probability of what is kept."""
    key = finished.stages["joint_teaching"].manifest.inputs["signal_teacher"]
    (folder,) = (out / "store").glob(f"signal_teacher-{key}")
    facts = (folder / "manifest.json").read_text()

    assert '"bytes_per_position": 384' in facts  # 64 tokens of 6 bytes
    assert '"texts": 128' in facts


def test_a_signal_of_other_texts_is_refused(finished: Run, tiny: dict[str, Any], out: Path, tmp_path: Path) -> None:
    """However it came to lie under the key of these."""
    copied = tmp_path / "runs"
    shutil.copytree(out / "store", copied / "store")
    for student in (copied / "store").glob("joint_teaching-*"):
        shutil.rmtree(student)
    key = finished.stages["joint_teaching"].manifest.inputs["signal_gold"]
    receipt = copied / "store" / f"signal_gold-{key}" / "cache.json"
    receipt.write_text('{"done": 24, "fingerprint": "0000"}')

    with pytest.raises(PoolError, match=r"has \d+ positions and fingerprint 0000"):
        run(check_recipe(tiny), out=copied)
