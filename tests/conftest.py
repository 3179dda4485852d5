import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.config.read import check_recipe
from understudy.pipeline.run import Run, run

TRAINING = {"epochs": 2, "batch_tokens": 1500, "warmup_steps": 2}
TINY: dict[str, Any] = {
    "name": "tiny",
    "precision": "float32",
    "task": {
        "forecast": {"labeled": 24, "unlabeled": 40, "dev": 6, "test": 8, "references": 2},
        "max_source_tokens": 160,
        "max_target_tokens": 200,
    },
    "teacher": {
        "scratch": {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 16},
        "vocab_size": 300,
        "finetune": TRAINING,
    },
    "student": {
        "scratch": {"width": 8, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 8},
        "finetune": TRAINING,
    },
    "pseudo_targets": {"per_input": 2, "shard_inputs": 24},
    "distil": {"method": "joint_teaching", "final_finetune": TRAINING},
    "training": TRAINING,
    "evaluation": {
        "decoding": {"kind": "greedy"},
        "resamples": 50,
        "latency_inputs": 2,
        "batch_inputs": 4,
        "repeats": 1,
    },
}


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """A recipe at the smallest sizes, as plain data."""
    return copy.deepcopy(TINY)


@pytest.fixture(scope="session")
def finished(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """That recipe, run on one thread: on some machines two threads sum in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return run(check_recipe(tiny), out=tmp_path_factory.mktemp("runs"))
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="session")
def out(finished: Run) -> Path:
    """The folder of that run and, in `store`, of its stages."""
    return finished.folder.parent
