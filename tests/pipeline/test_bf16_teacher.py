"""`teacher_logprobs.weights: bf16`: the teacher scores with weights of half the size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.pipeline.method_steps import World, trained

from understudy.config.model_sections import Architecture
from understudy.pipeline.stages.student import StudentStage
from understudy.pool.logprob_cache import LogprobCache

SPARSE = {"kind": "sparse", "top": 9, "top_p": 1.0}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One store for all tests."""
    return World(tmp_path_factory.mktemp("bf16"))


def student(world: World, kept: dict[str, Any], architecture: Architecture = "bart") -> StudentStage:
    """A student of Joint-Teaching, whose teacher also scores the student's samples."""
    return world.stages("joint_teaching", architecture, distil={"teacher_logprobs": kept})[0]


@pytest.mark.parametrize("architecture", ["bart", "gpt2", "t5"])
@pytest.mark.parametrize("kept", [SPARSE, {"kind": "dense"}])
def test_a_teacher_in_bfloat16_gives_nearly_the_same_losses(
    world: World, kept: dict[str, Any], architecture: Architecture, tmp_path: Path
) -> None:
    """Of gold, pseudo-targets and student samples; every weight takes two bytes, and the student's four."""
    losses = []
    for weights in ("float32", "bf16"):
        done = trained(student(world, kept | {"weights": weights}, architecture), world.context, tmp_path / weights)
        assert done.job.teacher.network is not None
        assert done.job.teacher.network.dtype == (torch.bfloat16 if weights == "bf16" else torch.float32)
        assert {each.dtype for each in done.job.network.parameters()} == {torch.float32}
        losses.append([row["train_loss"] for row in done.state.history])

    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.05)


def test_cached_log_probabilities_are_those_of_the_rounded_weights(world: World, tmp_path: Path) -> None:
    """Near those of float32: a bfloat16 has eight significant bits."""
    caches: list[LogprobCache] = []
    for weights in ("float32", "bf16"):
        job = student(world, SPARSE | {"weights": weights}).training(tmp_path / weights, world.context)
        cache = job.teacher.logprob_caches["gold"]
        assert isinstance(cache, LogprobCache)
        caches.append(cache)
    plain, rounded = (cache.at(np.arange(18)).logp_PK.astype(np.float32) for cache in caches)

    assert not np.array_equal(plain, rounded)
    np.testing.assert_allclose(rounded[:, 0], plain[:, 0], atol=0.3)


def test_float32_is_in_no_key(world: World) -> None:
    """It is the default."""
    assert student(world, SPARSE).key == student(world, SPARSE | {"weights": "float32"}).key
    assert student(world, SPARSE).key != student(world, SPARSE | {"weights": "bf16"}).key
