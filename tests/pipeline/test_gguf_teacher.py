"""A run whose teacher is a GGUF file."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import TRAINING
from tests.gguf_file import byte_tokenizer, small_qwen, write_gguf
from tests.pipeline.stage_helpers import derive, network_folder, train

from understudy.config.read import check_recipe, merge
from understudy.errors import ModelError
from understudy.models.checkpoint import config_of
from understudy.models.gguf import save_gguf
from understudy.models.tokenizers import load_tokenizer
from understudy.pipeline.context import STORE
from understudy.pipeline.plan import plan
from understudy.store.manifest import MANIFEST

COLOURS = ("red", "blue", "old", "new", "big")
ROWS = [
    {"source": f"{colour} {thing}", "target": f"a {colour} {thing}"} for colour in COLOURS for thing in ("mill", "inn")
]


@pytest.fixture
def recipe(tiny: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A teacher from a file, and itself with one layer."""
    splits = {"labeled": ROWS[:5], "unlabeled": ROWS[5:7], "dev": ROWS[7:8], "test": ROWS[8:]}
    for split, rows in splits.items():
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = byte_tokenizer([text for row in ROWS for text in row.values()])
    write_gguf(tmp_path / "tiny.gguf", small_qwen(tokenizer), tokenizer)
    return merge(
        {key: value for key, value in tiny.items() if key not in {"task", "teacher", "student"}},
        {
            "task": {
                "files": {split: str(tmp_path / f"{split}.jsonl") for split in splits},
                "max_source_tokens": 20,
                "max_target_tokens": 12,
            },
            "teacher": {"model": str(tmp_path / "tiny.gguf"), "finetune": TRAINING},
            "student": {"prune": {"decoder_layers": 1}, "finetune": TRAINING},
            "pseudo_targets": {"per_input": 1, "min_finished": 0},
            "distil": {"method": "sequence_level", "final_finetune": None},
        },
    )


def test_a_teacher_from_a_file_is_read_once(recipe: dict[str, Any], tmp_path: Path) -> None:
    """The student has the file's tokens; another run of the file finds it in the store."""
    stages, context = train(check_recipe(recipe), tmp_path / "runs")
    student = network_folder(stages.systems.final.network, context)
    (kept,) = (tmp_path / "runs" / STORE).glob("gguf-*")
    before = (kept / MANIFEST).stat().st_mtime_ns
    derive(check_recipe(merge(recipe, {"seed": 1})), tmp_path / "runs")
    save_gguf(tmp_path / "tiny.gguf", tmp_path / "folder")
    config = config_of(str(student))

    assert (config.model_type, config.num_hidden_layers) == ("qwen2", 1)
    vocabularies = [load_tokenizer(str(path)).get_vocab() for path in (student, tmp_path / "folder")]
    assert vocabularies[0].items() >= vocabularies[1].items()
    assert (kept / MANIFEST).stat().st_mtime_ns == before


def test_a_plan_knows_the_size_of_a_file(recipe: dict[str, Any], tmp_path: Path) -> None:
    """Checks and estimates read the config that the stage keeps."""
    planned = {stage.label: stage for stage in plan(check_recipe(recipe), out=tmp_path / "runs")}

    assert planned["gguf"].cached
    assert planned["teacher"].estimate.steps > 0


def test_a_missing_file_is_refused(recipe: dict[str, Any], tmp_path: Path) -> None:
    """The message names the file."""
    absent = merge(recipe, {"teacher": {"model": str(tmp_path / "absent.gguf")}})
    with pytest.raises(ModelError, match=r"no file '.*absent\.gguf'"):
        derive(check_recipe(absent), tmp_path / "runs")
