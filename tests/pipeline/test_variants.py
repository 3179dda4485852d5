"""Combinations of teacher and student, and which settings change which stages."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.stage_helpers import derive, network_folder, train
from tests.sizes import small
from transformers import AutoConfig

from understudy import run
from understudy.config.read import check_recipe, merge
from understudy.config.recipe import Recipe
from understudy.errors import ModelError, VocabularyError
from understudy.models.checkpoint import load_network, save_network
from understudy.models.scratch import build_network
from understudy.models.task_tokenizer import checkpoint_task_tokenizer
from understudy.models.tokenizers import train_tokenizer
from understudy.pipeline.build import RunStages
from understudy.pipeline.prepare import text_limits
from understudy.pipeline.stages.conversion import ConversionStage
from understudy.pipeline.stages.pseudo_targets import PseudoTargetsStage
from understudy.pipeline.training_data import TaskTokenizers, pool_targets
from understudy.pool import PseudoTargetPool, write_pool_file
from understudy.progress import NoProgress, ProgressCallback
from understudy.records import Example, PseudoTarget
from understudy.store import Stage

CAUSAL = {"architecture": "gpt2", "width": 16, "encoder_layers": 0, "decoder_layers": 2, "heads": 2, "feed_forward": 16}
LENGTHS = {"max_source_tokens": 300, "max_target_tokens": 300}


def variant(tiny: dict[str, Any], **changes: Any) -> Recipe:  # noqa: ANN401 - plain data
    """The tiny recipe with some sections changed and no final fine-tuning; networks are replaced whole."""
    plain = {key: value for key, value in tiny.items() if key not in {"teacher", "student"} or key not in changes}
    return check_recipe(merge({**plain, "distil": {**tiny["distil"], "final_finetune": None}}, changes))


def test_a_student_pruned_from_a_decoder_only_teacher(tiny: dict[str, Any], tmp_path: Path) -> None:
    """GPT-2 with two layers, and itself with one; its size and latency are logged before it is trained."""
    lines: list[str] = []

    class Recorder(NoProgress):
        def log(self, message: str) -> None:
            lines.append(message)

        @contextmanager
        def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:
            lines.append(title)
            with super().track(title, total, unit) as progress:
                yield progress

    teacher = {**tiny["teacher"], "scratch": CAUSAL}
    student = {"prune": {"decoder_layers": 1}, "finetune": tiny["student"]["finetune"]}
    done = run(variant(tiny, teacher=teacher, student=student), out=tmp_path, progress=Recorder())
    config = AutoConfig.from_pretrained(done.folder / "student")
    summary = next(line for line in lines if "predicted latency" in line)

    assert lines.index(summary) < lines.index("distil the student")
    assert (config.model_type, config.n_layer) == ("gpt2", 1)
    assert re.search(r"1 of 2 decoder layers: [\d.]+ M of [\d.]+ M parameters.* [\d.]+ ms .* [\d.]+ ms", summary)


def test_a_student_of_another_family_matches_distributions(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Each network reads the source as its family does."""
    student = {"scratch": CAUSAL, "finetune": tiny["student"]["finetune"]}
    stages, context = train(variant(tiny, student=student), tmp_path)
    networks = (stages.systems.teacher.network, stages.systems.final.network)

    assert [AutoConfig.from_pretrained(network_folder(one, context)).model_type for one in networks] == ["bart", "gpt2"]


def test_relations_of_two_kinds_of_network_are_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Before anything is trained."""
    student = {"scratch": CAUSAL, "finetune": tiny["student"]["finetune"]}
    recipe = variant(
        tiny,
        student=student,
        pseudo_targets={"per_input": 1, "min_finished": 0},
        distil={"method": "attention_relations_kd"},
    )

    with pytest.raises(ModelError, match=r"encoder-decoder.*decoder-only.*remove relations"):
        derive(recipe, tmp_path)


@pytest.fixture
def checkpoints(tmp_path: Path) -> dict[str, str]:
    """Two checkpoints in the hub's layout, whose tokenizers differ."""
    folders = {}
    for name, text in {"big": "Falford Tuesday temp rain winds", "small": "Ølsund Sunday snow überall"}.items():
        tokenizer = train_tokenizer([text] * 3, vocab_size=120)
        network = build_network(
            small(encoder_layers=2, decoder_layers=2, dropout=0.1), tokenizer, max_positions=500, seed=1
        )
        save_network(network, tokenizer, tmp_path / name)
        folders[name] = str(tmp_path / name)
    return folders


def test_a_student_with_another_tokenizer_learns_the_text(
    tiny: dict[str, Any], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    """Sequence-level distillation encodes the pool with the student's tokenizer; the teacher does not change."""
    recipe = variant(
        tiny,
        task=LENGTHS,
        teacher={"model": checkpoints["big"]},
        student={"model": checkpoints["small"], "finetune": tiny["student"]["finetune"]},
        distil={"method": "sequence_level"},
        pseudo_targets={"per_input": 1, "min_finished": 0},
    )
    stages, context = train(recipe, tmp_path / "runs")
    before = load_network(checkpoints["big"])
    after = load_network(str(network_folder(stages.systems.teacher.network, context)))
    student = AutoConfig.from_pretrained(network_folder(stages.systems.final.network, context))

    assert all((a == b).all() for a, b in zip(before.parameters(), after.parameters(), strict=True))
    assert student.vocab_size == AutoConfig.from_pretrained(checkpoints["small"]).vocab_size


def test_distillation_can_start_from_the_fine_tuned_student(tiny: dict[str, Any], tmp_path: Path) -> None:
    """With hardly any learning rate the distilled student is still the baseline; the other start is far from it."""
    starts = {}
    for start in ("fine_tuned", "student"):
        changes = {"distil": {"initial_weights": start}, "training": {"learning_rate": 1e-9, "epochs": 1}}
        stages, context = train(variant(tiny, **changes), tmp_path)
        assert stages.systems.baseline is not None
        networks = (stages.systems.baseline.network, stages.systems.final.network)
        weights = [load_network(str(network_folder(one, context))).state_dict() for one in networks]
        starts[start] = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])

    assert starts["fine_tuned"] < 1e-6
    assert starts["student"] > 1e-3


def test_a_truncated_text_has_no_end_token_for_another_tokenizer_either(
    tiny: dict[str, Any], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    """Encoded again it would get one, and the student would learn to stop in the middle of a sentence."""
    limits = text_limits(check_recipe(tiny))
    tokenizers = TaskTokenizers(*(checkpoint_task_tokenizer(limits, checkpoints[name]) for name in ("big", "small")))
    (whole,) = tokenizers.teacher.encode_targets(["rain winds"])
    rows = [
        PseudoTarget("a", "teacher", 0, sample, tuple(token_ids), "rain winds", -1.0)
        for sample, token_ids in enumerate((whole, whole[:-1]))
    ]
    write_pool_file(tmp_path / "shard.parquet", rows, {"seed": "1"})
    texts = pool_targets([Example("a", "x")], tokenizers, PseudoTargetPool.open(tmp_path)).texts
    finished, truncated = (texts[row].tolist() for row in range(2))

    assert finished[-1] == tokenizers.student.tokenizer.eos_token_id
    assert truncated == finished[:-1]


def test_a_student_with_another_tokenizer_cannot_match_live_distributions(
    tiny: dict[str, Any], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    """Refused before a network is loaded, with what would work; log-probabilities that are kept are mapped."""
    models = {"teacher": {"model": checkpoints["big"]}, "student": {"model": checkpoints["small"]}, "task": LENGTHS}
    recipe = variant(tiny, **models, distil={"teacher_logprobs": {"kind": "dense"}})

    with pytest.raises(VocabularyError, match=r"teacher_logprobs=\{kind: sparse\}.*cross_entropy"):
        derive(recipe, tmp_path / "runs")
    stages, _ = derive(variant(tiny, **models), tmp_path / "runs")
    assert [name for name, _ in stages.systems.student.logprobs] == ["gold", "teacher"]  # type: ignore[attr-defined]


def keys(stages: RunStages) -> dict[str, str]:
    """The keys of the stages of a run that are trained, and of the teacher's predictions."""
    systems = stages.systems
    named: dict[str, Stage[Any] | None] = {
        "data": stages.task.data,
        "teacher": systems.teacher.network,
        "predictions": systems.teacher.predictions,
        "baseline": systems.baseline.network if systems.baseline else None,
        "student": systems.student,
    }
    return {name: stage.key for name, stage in named.items() if stage}


def test_more_unlabeled_inputs_leave_the_teacher_and_the_baseline(
    tiny: dict[str, Any], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    """A task with more inputs has the same pretrained teacher and baseline, and the shards of the inputs before."""
    found, shards = [], []
    for unlabeled in (12, 40):
        recipe = variant(
            tiny,
            task={"forecast": {**tiny["task"]["forecast"], "unlabeled": unlabeled}, **LENGTHS},
            teacher={"model": checkpoints["big"], "labels": "labeled", "finetune": tiny["teacher"]["finetune"]},
            distil={"method": "sequence_level"},
            pseudo_targets={"per_input": 1, "min_finished": 0, "inputs": ["labeled", "unlabeled"], "shard_inputs": 4},
        )
        stages, context = derive(recipe, tmp_path / "runs")
        pool = stages.scores.pool
        assert isinstance(pool, PseudoTargetsStage)
        found.append(keys(stages))
        shards.append({shard.key for shard in pool.shards(context)})

    same = {name for name in found[0] if found[0][name] == found[1][name]}
    assert same == {"teacher", "baseline", "predictions"}
    assert shards[0] < shards[1]
    assert len(shards[1] - shards[0]) == (40 - 12) // 4


def test_a_scratch_student_depends_on_its_tokenizer(
    tiny: dict[str, Any], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    """It is that of the pretrained teacher, so with another teacher the baseline is another one too."""
    found = {
        keys(
            derive(
                variant(
                    tiny,
                    task=LENGTHS,
                    teacher={"model": checkpoint},
                    distil={"method": "fine_tune"},
                    pseudo_targets={"per_input": 1, "min_finished": 0},
                ),
                tmp_path / "runs",
            )[0]
        )["baseline"]
        for checkpoint in checkpoints.values()
    }

    assert len(found) == len(checkpoints)


def test_other_references_change_predictions_and_not_the_teacher(
    tiny: dict[str, Any], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    """A teacher depends on what it learned; its predictions on the examples that they are compared with."""
    found = []
    for references in (2, 3):
        recipe = variant(
            tiny,
            task={"forecast": {**tiny["task"]["forecast"], "references": references}, **LENGTHS},
            teacher={"model": checkpoints["big"]},
            distil={"method": "fine_tune"},
            pseudo_targets={"per_input": 1, "min_finished": 0},
        )
        found.append(keys(derive(recipe, tmp_path / "runs")[0]))

    assert found[0]["teacher"] == found[1]["teacher"]
    assert found[0]["predictions"] != found[1]["predictions"]


def test_an_engine_is_part_of_the_conversion_alone(
    tiny: dict[str, Any], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    """A teacher that is used as it is does not depend on the engine that generates with it."""
    recipe = variant(tiny, task=LENGTHS, teacher={"model": checkpoints["big"]}, distil={"method": "sampling"})
    found = []
    for engine in ("hf", "ctranslate2"):
        stages, _ = derive(recipe.model_copy(update={"engine": engine}), tmp_path / "runs")
        assert isinstance(stages.systems.teacher.converted, ConversionStage)
        found.append((stages.systems.teacher.network, stages.systems.teacher.converted))

    assert found[0][0] == found[1][0]
    assert replace(found[0][1], engine="ctranslate2") == found[1][1]
    assert found[0][1].key != found[1][1].key
