"""A training in each of six languages: the weights that are kept score as well as the last ones."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.scripts import LANGUAGES, task

from understudy.config.read import check_recipe
from understudy.evaluation.bootstrap import advantage, resample_weights
from understudy.evaluation.metrics import METRICS, tally
from understudy.executors.local import Local
from understudy.pipeline.build import build_run
from understudy.pipeline.context import RunContext, run_context
from understudy.pipeline.stages.predictions import load_predictions
from understudy.progress import NoProgress

SIZES = {"labeled": 200, "dev": 40, "test": 100}
SCRATCH = {
    "architecture": "bart", "width": 64, "encoder_layers": 1, "decoder_layers": 1, "heads": 4, "feed_forward": 128,
    "dropout": 0.0,
}  # fmt: skip


def recipe(folder: Path, language: str, keep: str) -> dict[str, Any]:
    """A student from sizes that is fine-tuned on 200 examples, with the default metrics."""
    files, first = {}, 0
    for split, count in SIZES.items():
        rows = [{"source": one.source, "target": one.targets[0]} for one in task(language, count, first=first)]
        path = folder / f"{split}.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        files[split], first = str(path), first + count
    training = {"epochs": 40, "learning_rate": 4e-3, "warmup_steps": 20, "batch_tokens": 1000}
    return {
        "name": language,
        "precision": "float32",
        "task": {"files": files, "max_source_tokens": 64, "max_target_tokens": 64},
        "teacher": {"scratch": SCRATCH, "vocab_size": 300},
        "student": {"scratch": SCRATCH, "finetune": training | {"evaluate_every": 4, "keep_weights": keep}},
        "pseudo_targets": {"inputs": ["labeled"]},
        "distil": {"method": "sequence_level"},
        "evaluation": {"decoding": {"kind": "greedy"}},
    }


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_kept_weights_score_as_well_as_the_last_ones(language: str, tmp_path: Path) -> None:
    """By the primary metric on the test split, within the paired interval; all scores are printed."""
    context: RunContext = run_context(tmp_path / "runs", NoProgress())
    outputs, steps = {}, {}
    for keep in ("best", "last"):
        system = build_run(check_recipe(recipe(tmp_path, language, keep)), context).systems.baseline
        assert system is not None
        assert system.network is not None
        context.store.get(system.predictions, Local(), context)
        outputs[keep] = load_predictions(system.predictions, context, "test")
        steps[keep] = context.facts(system.network).best_step
    weights_RN = resample_weights(SIZES["test"], resamples=1000, seed=1)
    for name in ("bleu", "chrf", "rouge", "nll", "exact_match"):
        best, last = (tally(METRICS[name], own) for own in outputs.values())
        perfect = [replace(one, text=one.references[0]) for one in outputs["best"].predictions]
        lead = advantage(best, last, weights_RN)
        print(  # noqa: T201 - shown with -s
            f"{language} {name}: kept {best.value():.2f} (step {steps['best']}), last {last.value():.2f} "
            f"(step {steps['last']}), difference {lead.value:+.2f} [{lead.low:.2f}, {lead.high:.2f}]"
        )
        assert lead.high >= 0 or name != "bleu"
        if name != "nll":
            assert tally(METRICS[name], replace(outputs["best"], predictions=perfect)).value() == pytest.approx(100)
