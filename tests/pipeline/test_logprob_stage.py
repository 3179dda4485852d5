"""The teacher's log-probabilities are computed once for all methods that use the same texts."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from understudy.config.read import check_recipe, merge
from understudy.errors import StoreError
from understudy.pipeline.build import build_run
from understudy.pipeline.context import run_context
from understudy.pipeline.run import Run, run
from understudy.pipeline.stages.report_parts import LOW_MASS
from understudy.progress import NoProgress
from understudy.store.manifest import read_manifest

GOLD, TEXTS = "teacher_logprobs_gold", "teacher_logprobs_teacher"


def student_and_caches(tiny: dict[str, Any], out: Path, **distil: object) -> tuple[str, dict[str, str]]:
    """The keys of the student and of the log-probabilities that it learns, for a recipe over a finished store."""
    recipe = check_recipe(merge(tiny, {"distil": distil}))
    stages = build_run(recipe, run_context(out, NoProgress()))
    student = stages.systems.student
    return student.key, {generator: stage.key for generator, stage in student.logprobs}  # type: ignore[attr-defined]


def test_methods_share_the_log_probabilities(finished: Run, tiny: dict[str, Any], out: Path) -> None:
    """Another divergence reads the same caches; other kept tokens need new ones."""
    student, caches = student_and_caches(tiny, out)
    js_student, js_caches = student_and_caches(tiny, out, method="f_distill_js")
    _, fewer = student_and_caches(tiny, out, teacher_logprobs={"kind": "sparse", "top": 9})

    assert {f"teacher_logprobs-{key}" for key in caches.values()} == {finished.stages[n].name for n in (GOLD, TEXTS)}
    assert student != js_student
    assert js_caches == caches
    assert fewer.keys() == caches.keys() == {"gold", "teacher"}
    assert not set(fewer.values()) & set(caches.values())


def test_the_facts_describe_what_is_kept(finished: Run) -> None:
    """How many texts and positions, at how many bytes, and the mean probability of what is kept."""
    facts = read_manifest(finished.stages[TEXTS]).facts

    assert 1 + 4 < facts["bytes_per_position"] <= 57  # a count, and 2 bytes each of id and log-probability
    assert facts["bytes_per_position"] == pytest.approx(1 + 4 * facts["mean_kept"])
    assert facts["generator"] == "teacher"
    assert facts["lost_divergence"] > 0
    assert facts["texts"] == (24 + 40) * 2
    assert facts["positions"] >= facts["texts"]
    assert 0 < facts["mean_mass"] <= 1


def test_the_report_has_what_each_cache_costs_and_loses(finished: Run) -> None:
    """As the manifests say, and on the page."""
    found = finished.facts["teacher_logprobs"]
    page = (finished.folder / "report.html").read_text()

    assert [own["generator"] for own in found] == ["gold", "teacher"]
    for own, name in zip(found, (GOLD, TEXTS), strict=True):
        facts = read_manifest(finished.stages[name]).facts
        assert own.items() <= facts.items()
        assert f"{own['bytes_per_position']:.1f}" in page
    assert "Teacher log-probabilities" in page
    low = [note for note in finished.facts["notes"] if "of the mass" in note]
    assert len(low) == sum(own["mean_mass"] < LOW_MASS for own in found)
    assert all("top: 64, top_p: 1" in note for note in low)


def test_log_probabilities_of_other_texts_are_refused(
    finished: Run, tiny: dict[str, Any], out: Path, tmp_path: Path
) -> None:
    """Also if they lie under the key of these."""
    copied = tmp_path / "runs"
    shutil.copytree(out / "store", copied / "store")
    for name in ("student", "final_finetune", "predictions", "benchmark", "scores", "conversion"):
        for folder in (copied / "store").glob(f"{name}-*"):
            shutil.rmtree(folder)
    cache = copied / "store" / finished.stages[GOLD].name / "cache.json"
    cache.write_text(json.dumps({"done": 24, "fingerprint": "0000"}))

    with pytest.raises(StoreError, match=r"cache\.json is damaged.*delete the folder .*teacher_logprobs"):
        run(check_recipe(tiny), out=copied)
