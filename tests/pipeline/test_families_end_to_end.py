"""Every family of language models through the stages of a run: from a checkpoint of the hub to a delivered student.

The student has fewer layers than the fine-tuned teacher and learns from its log-probabilities of its pseudo-targets.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.pipeline.family_checkpoints import CHECKPOINTS, ROWS
from tests.pipeline.stage_helpers import network_folder, train
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from understudy.config.decoding import Beam, Greedy
from understudy.config.read import check_recipe
from understudy.config.recipe import Recipe
from understudy.generation import open_engine
from understudy.models.checkpoint import load_network
from understudy.models.families import layer_counts
from understudy.pipeline.delivery import deliver_student, dependencies_first
from understudy.pipeline.model_sources import FromStage, load_task_tokenizer
from understudy.pipeline.prepare import text_limits
from understudy.pipeline.stages.teacher_logprobs import TeacherLogprobsStage
from understudy.records import Example

SPLITS = {"labeled": ROWS[:4], "unlabeled": ROWS[4:6], "dev": ROWS[6:8], "test": ROWS[8:10]}
TRAINING = {"epochs": 1, "batch_tokens": 200, "warmup_steps": 1, "learning_rate": 1e-3}
TOKENS = 6


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Split -> its file."""
    folder = tmp_path_factory.mktemp("data")
    for split, rows in SPLITS.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {split: str(folder / f"{split}.jsonl") for split in SPLITS}


def recipe_of(family: str, folder: Path, files: dict[str, str]) -> Recipe:
    """A recipe with a checkpoint of the family as the teacher, and itself with one layer on each side."""
    CHECKPOINTS[family].save(folder / "model")
    plain: dict[str, Any] = {
        "name": "family",
        "precision": "float32",
        "task": {"files": files, "max_source_tokens": 40, "max_target_tokens": 24},
        "teacher": {"model": str(folder / "model"), "finetune": TRAINING},
        "student": {"prune": {"decoder_layers": 1}, "finetune": TRAINING},
        "distil": {"method": "logits_pt", "teacher_logprobs": {"kind": "sparse", "top": 8}},
        "pseudo_targets": {"per_input": 1, "decoding": {"kind": "greedy"}, "min_finished": 0},
        "training": TRAINING,
        "evaluation": {"decoding": {"kind": "greedy"}, "resamples": 20},
    }
    return check_recipe(plain)


def logprobs(model: PreTrainedModel, source: list[int], target: list[int]) -> list[float]:
    """Of each token, by one forward pass of the whole model over one text."""
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            start = [model.config.decoder_start_token_id, *target[:-1]]
            logits = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([start])).logits[0]
        else:
            logits = model(input_ids=torch.tensor([[*source, *target]])).logits[0, len(source) - 1 : -1]
    rows: list[float] = logits.log_softmax(-1)[range(len(target)), target].tolist()
    return rows


@pytest.mark.parametrize("family", CHECKPOINTS)
def test_a_family_from_a_checkpoint_to_a_delivered_student(family: str, files: dict[str, str], tmp_path: Path) -> None:
    """The expected engine converts it, with the texts of `generate`, which the delivered student gives by itself."""
    recipe = recipe_of(family, tmp_path, files)
    stages, context = train(recipe, tmp_path / "runs")
    assert stages.systems.final.converted is not None
    facts = context.facts(stages.systems.final.converted)
    folder = network_folder(stages.systems.final.network, context)
    deliver_student(folder, tmp_path / "student", recipe.evaluation.decoding, max_tokens=TOKENS)
    tokenizer = load_task_tokenizer(FromStage(stages.systems.student), text_limits(recipe), context)
    sources = tokenizer.encode_sources([Example("1", row["source"], (row["target"],)) for row in SPLITS["test"]])
    texts: dict[str, list[list[int]]] = {}
    for engine in ("hf", facts.engine):
        with open_engine(engine, folder, workspace=tmp_path / "engines", threads=1) as opened:
            texts[engine] = [
                list(found[0].token_ids)
                for decoding in (Greedy(), Beam(beams=3))
                for found in opened.generate(sources, decoding, max_tokens=TOKENS)
            ]
    model = load_network(str(folder))
    auto = AutoModelForSeq2SeqLM if model.config.is_encoder_decoder else AutoModelForCausalLM
    delivered = auto.from_pretrained(tmp_path / "student").generate(torch.tensor([sources[0]]))[0].tolist()
    skipped = 1 if model.config.is_encoder_decoder else len(sources[0])
    cached = [one for one in dependencies_first(stages.scores) if isinstance(one, TeacherLogprobsStage)]

    assert facts.engine == CHECKPOINTS[family].engine
    assert (facts.passed_over is None) == (facts.engine == "ctranslate2")
    assert texts[facts.engine] == texts["hf"]
    assert delivered[skipped:] == texts["hf"][0]
    assert layer_counts(model.config)["decoder"] == 1
    assert [one.generator for one in cached] == ["gold", "teacher"]
    assert all(0 < context.facts(one).mean_mass <= 1.001 for one in cached)
    with open_engine("hf", folder, workspace=tmp_path / "engines", threads=1) as opened:
        (scores,) = opened.score(sources[:1], [[5, 6, 7]])
    assert scores == pytest.approx(logprobs(model, sources[0], [5, 6, 7]), abs=1e-4)
