"""The smallest recipe whose teacher stands behind an endpoint."""

import json
from pathlib import Path
from typing import Any

from tests.pipeline.conftest import TINY, TRAINING

from understudy.config.read import check_recipe
from understudy.pipeline.run import Run, run

WORDS = ("red", "green", "blue", "big", "small", "old", "new", "round")
INPUTS = [f"a {first} {second} ball" for first in WORDS for second in WORDS if first != second]


def recipe_of(folder: Path, address: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - sections of a recipe
    """No labels: inputs, of which some are held out."""
    path = folder / "inputs.jsonl"
    path.write_text("".join(json.dumps({"source": source}) + "\n" for source in INPUTS))
    scratch = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 16}
    plain = {
        "name": "bought",
        "precision": "float32",
        "task": {
            "files": {"unlabeled": str(path)},
            "held_out": {"dev": 6, "test": 8},
            "metrics": ["bleu", "chrf", "nll"],
            "max_source_tokens": 64,
            "max_target_tokens": 64,
        },
        "teacher": {
            "endpoint": {
                "model": "m",
                "base_url": address,
                "key": "SOME_KEY",
                "timeout_s": 30.0,
                "top_logprobs": 2,
                "max_tokens": 16,
                "price": {"input": 1.0, "output": 2.0},
            },
            "vocab_size": 120,
        },
        "student": {"scratch": scratch, "finetune": TRAINING},
        "pseudo_targets": {"per_input": 2},
        "distil": {"method": "extreme_logits"},
        "training": TRAINING,
        "evaluation": TINY["evaluation"],
    }
    return {**plain, **changes}


def done(plain: dict[str, Any], out: Path) -> Run:
    """The recipe, run."""
    return run(check_recipe(plain), out=out)
