"""Runs whose teacher or student has a trimmed vocabulary."""

from pathlib import Path
from typing import Any

import pytest
from tests.models.special_tokenizers import byte_level_of
from tests.pipeline.stage_helpers import network_folder, train
from tests.pipeline.test_variants import LENGTHS, variant
from tests.sizes import small
from transformers import AutoConfig, AutoTokenizer

from understudy.demo.forecast import forecast_task
from understudy.models.checkpoint import save_network
from understudy.models.scratch import build_network


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A decoder-only checkpoint with a byte-level tokenizer of 700 tokens, in the hub's layout."""
    data = forecast_task(labeled=24, unlabeled=40, dev=6, test=8, references=2, seed=5)
    texts = [text for example in data.labeled for text in (example.source, *example.targets)]
    tokenizer = byte_level_of([*texts, "Sphinx of black quartz, judge my vow"] * 3, vocab_size=700)
    tokenizer.bos_token = "<|text|>"  # noqa: S105
    folder = tmp_path_factory.mktemp("llama")
    network = build_network(small("llama", decoder_layers=2), tokenizer, max_positions=600, seed=1)
    save_network(network, tokenizer, folder)
    return str(folder)


def test_a_trimmed_teacher_and_its_pruned_student(tiny: dict[str, Any], llama: str, tmp_path: Path) -> None:
    """Both have the trimmed tokenizer, match distributions over it and are saved with it."""
    recipe = variant(
        tiny,
        task=LENGTHS,
        teacher={"model": llama, "vocab_size": 400, "finetune": tiny["teacher"]["finetune"]},
        student={"prune": {"decoder_layers": 1}, "finetune": tiny["student"]["finetune"]},
        pseudo_targets={"per_input": 1, "min_finished": 0},
    )
    stages, context = train(recipe, tmp_path / "runs")
    folders = [network_folder(one.network, context) for one in (stages.systems.teacher, stages.systems.final)]
    configs = [AutoConfig.from_pretrained(folder) for folder in folders]
    vocabularies = [AutoTokenizer.from_pretrained(folder).get_vocab() for folder in folders]

    assert [(config.vocab_size, config.num_hidden_layers) for config in configs] == [(400, 2), (400, 1)]
    assert vocabularies[0] == vocabularies[1]
    assert len(vocabularies[0]) == 400
