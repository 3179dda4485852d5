"""The metrics of a task follow its references, and those that cannot work are refused before anything is trained."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.scripts import task
from tests.pipeline.stage_helpers import write_task

from understudy.config.read import check_recipe
from understudy.errors import ConfigError
from understudy.pipeline.build import build_run
from understudy.pipeline.context import run_context
from understudy.pipeline.prepare import PreparedTask
from understudy.progress import NoProgress

SCRATCH = {"width": 8, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 8}
OWN = """
import numpy as np
from understudy.evaluation.metrics import Metric, ratio

likely = Metric("likely", "Likely", lambda outputs, _: outputs.likelihood_ND, ratio, needs_likelihood=True)
"""


def prepared(folder: Path, files: dict[str, str], *, allow_code: bool = False, **settings: object) -> PreparedTask:
    """The task of a recipe, with everything that keys depend on."""
    plain: dict[str, Any] = {
        "name": "small",
        "task": {"files": files, "max_source_tokens": 64, "max_target_tokens": 64, **settings},
        "teacher": {"scratch": SCRATCH, "vocab_size": 200},
        "student": {"scratch": SCRATCH},
        "pseudo_targets": {"inputs": ["labeled"]},
        "distil": {"method": "sequence_level"},
    }
    context = run_context(folder / "runs", NoProgress(), allow_code=allow_code)
    return build_run(check_recipe(plain), context).task


def written(folder: Path, language: str) -> dict[str, str]:
    """The files of a task in a language."""
    paths = {}
    for at, split in enumerate(("labeled", "dev", "test")):
        rows = [{"source": one.source, "target": one.targets[0]} for one in task(language, 20, first=20 * at)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths[split] = str(folder / f"{split}.jsonl")
    return paths


def test_default_metrics_of_one_word_targets(tmp_path: Path) -> None:
    """BLEU is replaced, and the first metric chooses checkpoints."""
    chosen = prepared(tmp_path, write_task(tmp_path))

    assert chosen.recipe.task.metrics == ("exact_match", "chrf", "rouge", "nll", "distinct_2")
    assert (
        chosen.scoring().primary_metric == chosen.training(chosen.recipe.training, seed=1).dev.metric == "exact_match"
    )


def test_named_metrics_that_cannot_work_are_refused(tmp_path: Path) -> None:
    """Before anything is trained; the message counts the references and names what works."""
    with pytest.raises(ConfigError, match=r"'bleu' .* 4 of 4 references .*\[exact_match, chrf\]"):
        prepared(tmp_path, write_task(tmp_path), metrics=["bleu", "chrf"])
    with pytest.raises(ConfigError, match=r"'bleu' .* 4 of 4 references"):
        prepared(tmp_path, write_task(tmp_path), primary_metric="bleu")


def test_named_metrics_that_work_are_kept(tmp_path: Path) -> None:
    """The first is the primary one where BLEU is not among them."""
    chosen = prepared(tmp_path, write_task(tmp_path), metrics=["exact_match", "chrf"]).recipe.task

    assert (chosen.metrics, chosen.primary_metric) == (("exact_match", "chrf"), "exact_match")


@pytest.mark.parametrize("language", ["chinese", "thai"])
def test_default_metrics_of_a_script_without_spaces(tmp_path: Path, language: str) -> None:
    """They stay: BLEU takes another tokenizer."""
    chosen = prepared(tmp_path, written(tmp_path, language)).recipe.task

    assert (chosen.metrics[:2], chosen.primary_metric) == (("bleu", "chrf"), "bleu")


def test_an_unknown_metric_alone_is_named(tmp_path: Path) -> None:
    """Its name is the finding, not that it is missing from the metrics."""
    with pytest.raises(ConfigError, match=r"unknown metric 'blue'.*did you mean 'bleu'"):
        prepared(tmp_path, write_task(tmp_path), metrics=["blue"])


def test_a_metric_of_ones_own_gets_the_likelihood_it_needs(tmp_path: Path) -> None:
    """Though nll is not among the metrics."""
    (tmp_path / "own.py").write_text(OWN)
    files = write_task(tmp_path)
    own = prepared(tmp_path, files, allow_code=True, metrics=["chrf", f"{tmp_path}/own.py:likely"])

    assert own.likelihood
    assert own.examples.with_likelihood
    assert not prepared(tmp_path, files, metrics=["chrf"]).likelihood
