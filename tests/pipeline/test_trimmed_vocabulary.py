"""Runs whose teacher or student has a trimmed vocabulary."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.api_teacher.server import RequestLog
from tests.conftest import TINY
from tests.models.special_tokenizers import byte_level_of, unigram
from tests.pipeline.api_teacher_recipe import INPUTS, recipe_of, serving
from tests.pipeline.stage_helpers import SOURCES, derive, network_folder, train, write_task
from tests.sizes import small
from transformers import AutoConfig, T5Config, T5ForConditionalGeneration

from understudy.config.read import check_recipe, merge
from understudy.config.recipe import Recipe
from understudy.errors import ConfigError, ModelError
from understudy.executors.local import Local
from understudy.models.checkpoint import checkpoint_parameter_count, save_network
from understudy.models.scratch import build_network
from understudy.models.tokenizers import load_tokenizer
from understudy.pipeline.build import build_run
from understudy.pipeline.context import run_context
from understudy.pipeline.network_size import network_size
from understudy.pipeline.preflight import check
from understudy.pipeline.run import QUIET
from understudy.pipeline.stages.report_parts import trimmed_vocabularies
from understudy.pipeline.starts import network_roles
from understudy.pipeline.teacher_outputs import endpoint_of

WHOLE = 600
"""Pieces of the whole tokenizer, beside four special ones."""
TRIMMED = 290
TRAINING = {"epochs": 1, "batch_tokens": 300, "warmup_steps": 1}
LIVE = {"teacher_logprobs": {"kind": "dense"}}
"""Whole distributions of the teacher at every step, which need one vocabulary."""
TEXTS = [*SOURCES * 3, *["Sphinx of black quartz, judge my vow", "the quick brown fox jumps over a lazy dog"] * 9]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task of files, and two decoder-only checkpoints with one byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("world")
    write_task(folder)
    tokenizer = byte_level_of(TEXTS, vocab_size=WHOLE)
    tokenizer.bos_token = "<|text|>"  # noqa: S105 - not a password
    for name, layers in {"teacher": 2, "student": 1}.items():
        network = build_network(small("llama", decoder_layers=layers), tokenizer, max_positions=64, seed=layers)
        save_network(network, tokenizer, folder / name)
    return folder


def recipe_in(world: Path, **changes: Any) -> Recipe:  # noqa: ANN401 - sections of a recipe
    """A teacher of two layers and itself with one, without a final fine-tuning; sections are merged in."""
    plain: dict[str, Any] = {
        "name": "trimmed",
        "precision": "float32",
        "engine": "hf",
        "task": {
            "files": {split: str(world / f"{split}.jsonl") for split in ("labeled", "unlabeled", "dev", "test")},
            "max_source_tokens": 24,
            "max_target_tokens": 12,
            "metrics": ["chrf"],
        },
        "teacher": {"model": str(world / "teacher"), "finetune": TRAINING},
        "student": {"prune": {"decoder_layers": 1}, "finetune": TRAINING},
        "pseudo_targets": {"per_input": 1, "min_finished": 0, "inputs": ["labeled"]},
        "training": TRAINING,
        "evaluation": TINY["evaluation"],
    }
    if "model" in changes.get("student", {}):
        plain["student"] = {"finetune": TRAINING}
    return check_recipe(merge(plain, changes))


def vocabulary(folder: Path) -> dict[str, int]:
    """The tokens of a saved network."""
    own: dict[str, int] = load_tokenizer(str(folder)).get_vocab()
    return own


def test_a_trimmed_teacher_and_its_pruned_student(world: Path, tmp_path: Path) -> None:
    """Both have the trimmed tokenizer and match distributions over it; the report says what was saved."""
    recipe = recipe_in(world, teacher={"vocab_size": TRIMMED}, distil={"method": "joint_teaching"})
    stages, context = train(recipe, tmp_path)
    teacher, student = (network_folder(one.network, context) for one in (stages.systems.teacher, stages.systems.final))
    assert stages.scores.vocabularies
    (own,) = trimmed_vocabularies(stages.scores.vocabularies, context)
    config = AutoConfig.from_pretrained(student)

    assert (config.vocab_size, config.num_hidden_layers) == (own["tokens"], 1)
    assert vocabulary(teacher) == vocabulary(student)
    assert len(vocabulary(student)) == own["tokens"] < TRIMMED
    assert (own["system"], own["whole_tokens"]) == ("teacher", len(vocabulary(world / "teacher")))
    assert own["whole_parameters"] == checkpoint_parameter_count(str(world / "teacher"))
    assert own["parameters"] == checkpoint_parameter_count(str(teacher))
    assert own["tokens_per_text"] >= own["whole_tokens_per_text"] > 1
    assert 0 < own["coverage"] <= 1


def test_a_pruned_student_of_a_whole_teacher_learns_its_text(world: Path, tmp_path: Path) -> None:
    """The teacher is used as it is and stays whole; only the student's vocabulary is trimmed."""
    recipe = recipe_in(
        world,
        teacher={"finetune": None},
        student={"vocab_size": TRIMMED},
        distil={"method": "sequence_level"},
    )
    stages, context = train(recipe, tmp_path)
    teacher, student = (network_folder(one.network, context) for one in (stages.systems.teacher, stages.systems.final))
    assert stages.preview
    preview = context.store.get(stages.preview, Local(), context)

    assert vocabulary(teacher) == vocabulary(world / "teacher")
    assert preview.parameters == checkpoint_parameter_count(str(teacher))
    assert preview.kept_parameters == checkpoint_parameter_count(str(student))
    assert len(vocabulary(student)) == AutoConfig.from_pretrained(student).vocab_size < TRIMMED


def test_a_pretrained_student_of_the_family_shares_the_trimmed_tokenizer(world: Path, tmp_path: Path) -> None:
    """It keeps the tokens of the teacher, so that distributions can be compared."""
    model = str(world / "student")
    recipe = recipe_in(world, teacher={"vocab_size": TRIMMED}, student={"model": model, "vocab_size": TRIMMED})
    stages, context = train(recipe, tmp_path)
    teacher, student = (network_folder(one.network, context) for one in (stages.systems.teacher, stages.systems.final))

    assert vocabulary(teacher) == vocabulary(student)
    assert AutoConfig.from_pretrained(student).vocab_size < TRIMMED
    assert [name for name, _ in stages.scores.vocabularies or ()] == ["teacher", "student"]


def test_the_sizes_before_training_are_those_of_the_trimmed_networks(world: Path, tmp_path: Path) -> None:
    """Plans count the parameters that are trained."""
    recipe = recipe_in(
        world, teacher={"finetune": None}, student={"vocab_size": TRIMMED}, distil={"method": "sequence_level"}
    )
    stages, context = derive(recipe, tmp_path)
    starts = network_roles(stages.scores)
    teacher, student = (network_size(starts[role], stages.task.limits, context) for role in ("teacher", "student"))
    whole = network_size(replace(starts["teacher"], prune=starts["student"].prune), stages.task.limits, context)
    removed = len(vocabulary(world / "teacher")) - student.vocabulary

    assert teacher.parameters == checkpoint_parameter_count(str(world / "teacher"))
    assert whole.parameters - student.parameters == whole.target - student.target == 16 * removed
    assert student.vocabulary < TRIMMED


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_ctranslate2_gives_the_texts_of_a_trimmed_network(world: Path, family: str, tmp_path: Path) -> None:
    """The preflight compares them with those of transformers, for the trimmed teacher and its pruned student."""
    model = world / "teacher"
    if family == "t5":
        model, tokenizer = tmp_path / "t5", unigram(*((f"▁{word}", -1.0) for word in ["red", "blue", "tree", "Sphinx"]))
        torch.manual_seed(1)
        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2, "initializer_factor": 2.0}
        padded = T5Config(vocab_size=len(tokenizer) + 9, decoder_start_token_id=0, **sizes)
        save_network(T5ForConditionalGeneration(padded), tokenizer, model)
    recipe = recipe_in(world, engine="ctranslate2", teacher={"model": str(model), "vocab_size": TRIMMED})
    findings = {one.check: one for one in check(recipe, out=tmp_path / "runs")}
    rows = int(findings["teacher vocabulary"].finding.split()[0])

    assert not [one for one in findings.values() if one.severity == "error"]
    assert "padding" not in findings["teacher vocabulary"].finding
    assert rows < len(vocabulary(model))
    for name in ("teacher network", "student network"):
        assert "engine 'ctranslate2', log-probabilities within" in findings[name].finding


def test_test_texts_have_no_part_in_the_choice(world: Path, tmp_path: Path) -> None:
    """Nor have those of dev: what the report says of them is not what they were chosen for."""
    recipe = recipe_in(world, teacher={"vocab_size": 10_000})
    stages, context = derive(recipe, tmp_path)
    ((_, stage),) = stages.scores.vocabularies or ()
    kept = vocabulary(context.folder(stage) / "network")

    assert {"Ġtree", "Ġriver", "green"} <= kept.keys()
    assert not {"ĠSphinx", "Ġfox"} & kept.keys()


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"teacher": {"vocab_size": 300, "finetune": None}}, ["teacher.vocab_size is 300", "set teacher.finetune"]),
        (
            {"teacher": {"vocab_size": 300}, "student": {"vocab_size": 300}},
            ["shares the tokenizer of the teacher", "leave student.vocab_size out"],
        ),
        (
            {"student": {"vocab_size": 300}, "distil": LIVE},
            ["student.vocab_size 300", "different tokens", "{kind: sparse}", "sequence_level"],
        ),
        (
            {"teacher": {"vocab_size": 300}, "student": {"model": "other"}, "distil": LIVE},
            ["teacher.vocab_size is 300 and student.vocab_size null", "trim both to the same size"],
        ),
        (
            {"teacher": {"vocab_size": 300}, "student": {"model": "other", "vocab_size": 400}, "distil": LIVE},
            ["teacher.vocab_size is 300 and student.vocab_size 400", "trim both to the same size"],
        ),
    ],
)
def test_sizes_that_cannot_be_are_refused(world: Path, changes: dict[str, Any], facts: list[str]) -> None:
    """Before a checkpoint is read, with the settings and the way out."""
    with pytest.raises(ConfigError) as error:
        recipe_in(world, **changes)

    assert [fact for fact in facts if fact not in str(error.value)] == []


@pytest.mark.parametrize(
    ("method", "setting"), [("noisy_kd", "enable_teacher_dropout"), ("hidden_relations_kd", "relations")]
)
def test_the_way_out_is_one_that_the_method_permits(world: Path, method: str, setting: str) -> None:
    """Sparse log-probabilities are no way out for a method whose teacher runs at every step."""
    with pytest.raises(ConfigError, match=rf"different tokens.*without {setting}, such as logits_kd") as error:
        recipe_in(world, student={"vocab_size": 300}, distil={"method": method})

    assert "{kind: sparse}" not in str(error.value)


def test_a_pruned_student_of_a_scratch_teacher_has_its_tokenizer(tiny: dict[str, Any]) -> None:
    """The number belongs to the teacher, whose tokenizer is trained to it."""
    student = {"prune": {"decoder_layers": 1}, "vocab_size": 100}

    with pytest.raises(ConfigError, match=r"student.vocab_size is 100.*set teacher.vocab_size"):
        check_recipe({**tiny, "student": student})


def test_a_student_of_an_api_teacher_keeps_the_tokens_of_the_responses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are what it learns to write, and no label has them: this server answers in capitals."""
    tokenizer = byte_level_of([*TEXTS, *(text.upper() for text in INPUTS)], vocab_size=WHOLE)
    tokenizer.bos_token = "<|text|>"  # noqa: S105 - not a password
    save_network(build_network(small("llama"), tokenizer, max_positions=200, seed=1), tokenizer, tmp_path / "model")
    student = {"model": str(tmp_path / "model"), "vocab_size": 400, "finetune": TRAINING}
    monkeypatch.setenv("SOME_KEY", "any")
    with serving(RequestLog(share=0.0)) as address:
        recipe = check_recipe(recipe_of(tmp_path, address, student=student))
        context = run_context(tmp_path / "runs", QUIET, endpoint=endpoint_of(recipe))
        stages = build_run(recipe, context)
    ((name, stage),) = stages.scores.vocabularies or ()
    kept = vocabulary(context.folder(stage) / "network")

    assert name == "student"
    assert {"ĠBALL", "ĠGREEN"} <= kept.keys()
    assert not {"ĠSphinx", "Ġtree"} & kept.keys()


def test_too_small_a_size_is_refused_before_anything_is_trained(world: Path, tmp_path: Path) -> None:
    """With the smallest one that is possible."""
    with pytest.raises(ModelError, match=r"vocab_size is 100.*set vocab_size to 2\d\d or more"):
        derive(recipe_in(world, teacher={"vocab_size": 100}), tmp_path)
