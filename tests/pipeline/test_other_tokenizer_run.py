"""Runs whose student has another tokenizer than its local teacher, and learns the teacher's distributions."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.recipe_world import SPLITS, write_lines
from tests.pipeline.test_trimmed_vocabulary import TRIMMED, recipe_in, vocabulary, world
from tests.sizes import small
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from understudy.config.read import check_recipe, merge
from understudy.config.recipe import Recipe
from understudy.errors import ConfigError, ModelError
from understudy.executors.local import Local
from understudy.models.checkpoint import save_network
from understudy.models.scratch import build_network
from understudy.pipeline.build import build_run
from understudy.pipeline.context import NETWORK, run_context
from understudy.pipeline.preflight import check
from understudy.pipeline.stages.report_parts import token_map_facts
from understudy.pipeline.starts import network_roles
from understudy.pipeline.token_map import token_map_findings
from understudy.progress import NoProgress

__all__ = ["world"]
SOURCES = [f"the {thing} costs {price} 世界 🙂" for thing in ("lamp", "chair", "café") for price in (7, 1250, 2024)]
TRAINING = {"epochs": 1, "batch_tokens": 300, "warmup_steps": 0}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Numbers, CJK and emoji; a Llama-type teacher and a GPT-2-type student, each with a tokenizer of its own."""
    folder = tmp_path_factory.mktemp("task")
    rows = [{"id": str(n), "source": f"say {text}", "targets": [text]} for n, text in enumerate(SOURCES)]
    parts = {"labeled": rows[:4], "unlabeled": rows[4:6], "dev": rows[6:7], "test": rows[7:]}
    for split in SPLITS:
        write_lines(folder / f"{split}.jsonl", parts[split])
    return {
        "name": "other",
        "precision": "float32",
        "engine": "hf",
        "task": {
            "files": {split: str(folder / f"{split}.jsonl") for split in SPLITS},
            "max_source_tokens": 60,
            "max_target_tokens": 60,
            "metrics": ["chrf"],
        },
        "teacher": {"scratch": small("llama").model_dump(), "vocab_size": 120, "finetune": TRAINING},
        "student": {"scratch": small("gpt2").model_dump(), "vocab_size": 110, "finetune": TRAINING},
        "pseudo_targets": {"per_input": 1, "min_finished": 0},
        "distil": {"method": "joint_teaching"},
        "training": TRAINING,
        "evaluation": {"decoding": {"kind": "greedy"}, "resamples": 50, "latency_inputs": 1, "batch_inputs": 1},
    }


def test_joint_teaching_maps_the_distributions(task: dict[str, Any], tmp_path: Path) -> None:
    """Of gold, of pseudo-targets and of student samples; the report has the shares of positions."""
    context = run_context(tmp_path, NoProgress())
    student = build_run(check_recipe(task), context).systems.student
    facts = context.store.get(student, Local(), context)
    tokens = [vocabulary(context.folder(stage) / NETWORK) for stage in (student.teacher_network, student)]  # type: ignore[attr-defined]
    found = token_map_facts(student.logprobs, context)  # type: ignore[attr-defined]

    assert len(tokens[1]) <= 110 < len(tokens[0]) <= 120
    assert facts.steps > 0
    assert [own["texts"] for own in found] == ["gold", "teacher"]
    for own in found:
        assert own["exact"] + own["merged"] + own["inside"] + own["text"] == pytest.approx(1)
        assert 0 < own["exact"] < 1
        assert 0 < own["mass"] <= 1


def test_the_check_says_that_tokens_are_mapped(task: dict[str, Any], tmp_path: Path) -> None:
    """With the share of the labeled targets' tokens that are the teacher's."""
    findings = {one.check: one for one in check(check_recipe(task), out=tmp_path)}

    assert findings["tokenizers"].severity == "ok"
    assert re.search(r"mapped by bytes; of the tokens of 4 labeled targets \d+% are", findings["tokenizers"].finding)


def test_a_student_with_the_same_tokenizer_has_no_map(task: dict[str, Any], tmp_path: Path) -> None:
    """Nor has one whose tokenizer is trained to the same size as the teacher's, on the same texts: it is the same."""
    keys = []
    for size in (None, 120):
        recipe = check_recipe(merge(task, {"teacher": {"labels": "labeled"}, "student": {"vocab_size": size}}))
        context = run_context(tmp_path, NoProgress())
        stages = build_run(recipe, context)
        assert not list(token_map_findings(stages.task, network_roles(stages.scores)["teacher"], context))
        keys.append(stages.systems.student.key)

    assert keys[0] == keys[1]


@pytest.mark.parametrize("student", [{"vocab_size": TRIMMED}, {"model": "student", "vocab_size": TRIMMED}])
def test_a_trimmed_student_learns_from_an_untrimmed_teacher(
    world: Path,
    student: dict[str, Any],
    tmp_path: Path,
) -> None:
    """Pruned from it, or another checkpoint of the family: some of its tokens are the teacher's."""
    if "model" in student:
        student = {**student, "model": str(world / student["model"])}
    recipe = recipe_in(world, teacher={"finetune": None}, student=student, distil={"method": "joint_teaching"})
    context = run_context(tmp_path, NoProgress())
    stages = build_run(recipe, context)
    context.store.get(stages.systems.student, Local(), context)
    found = token_map_facts(stages.systems.student.logprobs, context)  # type: ignore[attr-defined]

    assert [own["texts"] for own in found] == ["gold", "teacher"]
    for own in found:
        assert own["exact"] + own["merged"] + own["inside"] + own["text"] == pytest.approx(1)
        assert own["exact"] > 0


def dense(task: dict[str, Any], **changes: Any) -> Recipe:  # noqa: ANN401 - sections of a recipe
    """The recipe with live distributions of the teacher."""
    return check_recipe(merge(task, {"distil": {"teacher_logprobs": {"kind": "dense"}}, **changes}))


def test_live_distributions_of_other_tokens_are_refused(task: dict[str, Any]) -> None:
    """With the way out, before anything is read."""
    with pytest.raises(ConfigError, match=r"student.vocab_size is 110.*set teacher_logprobs=\{kind: sparse\}"):
        dense(task)
    assert dense(task, student={"vocab_size": None}).distil.kept_tokens is None


def test_a_student_of_an_api_teacher_has_no_size_of_its_own(task: dict[str, Any]) -> None:
    """Its tokenizer is the only one."""
    teacher = {"endpoint": {"model": "m", "base_url": "http://127.0.0.1:1", "key": "K", "top_logprobs": 2}}
    with pytest.raises(ConfigError, match=r"student.vocab_size is 110.*teacher.vocab_size"):
        check_recipe({**task, "teacher": teacher, "distil": {"method": "extreme_fine_tune"}})


def test_tokens_without_bytes_are_refused_before_anything_is_trained(task: dict[str, Any], tmp_path: Path) -> None:
    """The pieces of a WordPiece tokenizer do not contain spaces."""
    pieces = {piece: n for n, piece in enumerate(["[UNK]", "[PAD]", "[S]", "[E]", *"abcdefghijklmnopqrstuvwxyz"])}
    backend = Tokenizer(models.WordPiece(pieces))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    roles = {"unk_token": "[UNK]", "pad_token": "[PAD]", "bos_token": "[S]", "eos_token": "[E]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **roles)
    save_network(build_network(small("gpt2"), tokenizer, max_positions=200, seed=1), tokenizer, tmp_path / "model")
    student = {"model": str(tmp_path / "model"), "finetune": TRAINING}

    with pytest.raises(ModelError, match=r"neither byte-level nor Metaspace.*cross_entropy"):
        build_run(check_recipe({**task, "student": student}), run_context(tmp_path / "runs", NoProgress()))
