"""The smallest recipe whose teacher is an API, and a server for it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.api_teacher.server import RequestLog, serve
from tests.conftest import TINY, TRAINING

from understudy.config.read import check_recipe
from understudy.pipeline.context import run_context
from understudy.pipeline.run import Run, run
from understudy.pipeline.stages.api_responses import ApiResponsesFacts
from understudy.pipeline.teacher_outputs import endpoint_of, open_teacher
from understudy.progress import NoProgress

WORDS = ("red", "green", "blue", "big", "small", "old", "new", "round")
INPUTS = [f"a {first} {second} ball" for first in WORDS for second in WORDS if first != second]
HELD_OUT = 14
UNREACHABLE = "http://127.0.0.1:9/v1"
"""An address at which no server runs."""


@contextmanager
def serving(log: RequestLog) -> Iterator[str]:
    """A server that answers in capitals; yields its address."""
    server = serve(log)
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


def recipe_of(folder: Path, address: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - sections of a recipe
    """A recipe without labels: 56 inputs, of which 14 are held out."""
    path = folder / "inputs.jsonl"
    path.write_text("".join(json.dumps({"source": source}) + "\n" for source in INPUTS))
    scratch = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 16}
    plain = {
        "name": "api",
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


def labeled_files(folder: Path) -> dict[str, str]:
    """Files of six labeled, six dev and eight test examples; their targets begin with "gold of"."""
    parts = {"labeled": INPUTS[:6], "dev": INPUTS[6:12], "test": INPUTS[12:20]}
    for split, sources in parts.items():
        rows = [{"source": source, "target": f"gold of {source}"} for source in sources]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {split: str(folder / f"{split}.jsonl") for split in parts}


def run_plain(plain: dict[str, Any], out: Path) -> Run:
    """Runs the recipe."""
    return run(check_recipe(plain), out=out)


@dataclass(frozen=True)
class Responses:
    """A finished stage of responses."""

    folder: Path
    facts: ApiResponsesFacts


def request_responses(plain: dict[str, Any], out: Path) -> Responses:
    """Makes the recipe's stage of responses and nothing that is trained."""
    recipe = check_recipe(plain)
    context = run_context(out, NoProgress(), endpoint=endpoint_of(recipe))
    stage = open_teacher(recipe, context).system().predictions
    facts = context.facts(stage)
    assert isinstance(facts, ApiResponsesFacts)
    return Responses(context.folder(stage), facts)
