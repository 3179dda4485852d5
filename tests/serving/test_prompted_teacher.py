"""A teacher with a prompt of its own answers new inputs as it was evaluated."""

from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.family_checkpoints import CHECKPOINTS
from tests.pipeline.stage_helpers import derive, write_task

from understudy.config.read import check_recipe
from understudy.evaluation.predictions import read_predictions
from understudy.executors.local import Local
from understudy.pipeline.inspect.deploy import deployment_of
from understudy.pipeline.inspect.open import OpenedRun
from understudy.serving.deployment import open_deployment

OWN: dict[str, Any] = {"prompt": "Say:\n{source}", "system": "You write.", "demonstrations": 2}


@pytest.mark.parametrize(("engine", "own"), [("hf", OWN), ("auto", OWN), ("hf", {})])
def test_a_teacher_reads_the_prompt_that_it_was_evaluated_with(
    engine: str, own: dict[str, Any], tmp_path: Path
) -> None:
    """Its instructions and demonstrations, however many tokens they have; engine hf has nothing left to score."""
    CHECKPOINTS["llama-2"].save(tmp_path / "model")
    recipe = check_recipe(
        {
            "name": "prompted",
            "engine": engine,
            "task": {"files": write_task(tmp_path), "max_source_tokens": 16, "max_target_tokens": 8},
            "teacher": {"model": str(tmp_path / "model"), **own},
            "student": {"prune": {"decoder_layers": 1}},
            "distil": {"method": "sequence_level"},
            "evaluation": {"decoding": {"kind": "greedy"}},
        }
    )
    stages, context = derive(recipe, tmp_path / "runs")
    teacher = next(one for one in stages.systems.scored if one.name == "teacher")
    assert teacher.converted is not None
    context.store.get(teacher.predictions, Local(), context)
    made = {
        "teacher": teacher.network,
        "conversion_teacher": teacher.converted,
        "predictions_teacher": teacher.predictions,
    }
    folders = {label: context.folder(stage) for label, stage in made.items() if stage}
    folders["scores"] = context.store.root / stages.scores.folder_name  # not made, and not needed
    facts: Any = {"method": "sequence_level", "systems": [{"name": "teacher"}]}
    run = OpenedRun(tmp_path / "runs" / "prompted", facts, folders, recipe, context.store.root)
    evaluated = read_predictions(folders["predictions_teacher"] / "test.jsonl")

    found = deployment_of(run, "teacher")
    sources = [one.source for one in evaluated]
    with open_deployment(found, device="cpu", threads=1) as answering:
        assert answering.refusals(sources) == [None] * len(sources)
        assert [one.text for one in answering.answers(sources)] == [one.text for one in evaluated]
    assert found.limits_sources == (not own)
    assert len(found.limits.demonstrations or ()) == (3 if own else 0)
