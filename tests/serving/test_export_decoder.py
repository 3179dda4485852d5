"""Exports of decoder-only models: the chat template makes the evaluated input of a source, in each source format."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from tests.models.chat_templates import QWEN_2_5
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Beam, Decoding, Greedy
from understudy.config.model_sections import SourceFormat
from understudy.errors import GenerationError
from understudy.generation.hf import HuggingFaceEngine
from understudy.models.checkpoint import save_network
from understudy.models.task_tokenizer import TextLimits, checkpoint_task_tokenizer
from understudy.models.text import set_source_format
from understudy.models.tokenizers import train_tokenizer
from understudy.records import Example
from understudy.serving.deployment import Deployment
from understudy.serving.export import exported_texts, write_export
from understudy.serving.export_target import export_target

SOURCES = ["the mill", "a b c", "the eagle costs 25", 'say "no" \\ {{ x }}', "eagle\nmill"]
LIMITS = TextLimits('Rewrite "{source}"\n{source}:', 60, 12)


def saved(folder: Path, chosen: SourceFormat, **config: object) -> PreTrainedModel:
    """A random Llama in a folder, that reads sources in a format."""
    tokenizer: PreTrainedTokenizerBase = train_tokenizer(SOURCES * 3, vocab_size=150)
    if chosen == "chat":
        tokenizer.chat_template = QWEN_2_5
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    set_source_format(tokenizer, chosen)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"vocab_size": len(tokenizer) + 3, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    model = LlamaForCausalLM(LlamaConfig(**{**sizes, **ids, "initializer_range": 0.3, **config})).eval()
    save_network(model, tokenizer, folder)
    return model


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Deployment]:
    """Makes a deployment of a random Llama."""

    def make(chosen: SourceFormat, *, system: str | None = None, decoding: Decoding = Greedy()) -> Deployment:  # noqa: B008
        folder = tmp_path_factory.mktemp(chosen)
        saved(folder / "checkpoint", chosen)
        limits = TextLimits(LIMITS.prompt, LIMITS.max_source_tokens, LIMITS.max_target_tokens, system)
        return Deployment("r", "s", "k", folder / "checkpoint", folder / "conversions", "hf", decoding, limits)

    return make


def evaluated(deployment: Deployment) -> list[str]:
    """The texts of transformers for the inputs that this package encodes."""
    reader = checkpoint_task_tokenizer(deployment.limits, str(deployment.checkpoint))
    model = LlamaForCausalLM.from_pretrained(deployment.checkpoint, dtype=torch.float32).eval()
    rows = reader.encode_sources([Example("", source) for source in SOURCES])
    texts = HuggingFaceEngine(model, reader.tokenizer).generate(rows, deployment.decoding, max_tokens=12)
    return [reader.decode(text[0].token_ids).strip() for text in texts]


@pytest.mark.parametrize("system", [None, "Be 'brief'."])
@pytest.mark.parametrize("chosen", get_args(SourceFormat))
def test_a_source_is_the_only_message(
    deployed: Callable[..., Deployment], tmp_path: Path, chosen: SourceFormat, system: str | None
) -> None:
    """With the exported tokenizer alone a source becomes the evaluated input, and the texts are equal."""
    own = deployed(chosen, system=system)
    target = export_target(own, "float32", tmp_path)
    write_export("hf", target)
    assert exported_texts("hf", target, SOURCES) == evaluated(own)


@pytest.mark.parametrize("name", ["hf", "ct2"])
def test_the_example_prints_the_text(deployed: Callable[..., Deployment], tmp_path: Path, name: str) -> None:
    """Also with beams, and rows of the output layer without a token."""
    own = deployed("chat", decoding=Beam(beams=3))
    target = export_target(own, "float32", tmp_path)
    write_export(name, target)
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PATH": ""}
    command = [sys.executable, "-W", "ignore", "example.py", SOURCES[2]]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == evaluated(own)[2]
    assert exported_texts(name, target, SOURCES) == evaluated(own)


def test_a_prompt_that_was_changed_is_refused(deployed: Callable[..., Deployment], tmp_path: Path) -> None:
    """The written template is compared with the evaluated input, not trusted."""
    target = export_target(deployed("separator"), "float32", tmp_path)
    write_export("hf", target)
    template = tmp_path / "chat_template.jinja"
    template.write_text(template.read_text(encoding="utf-8").replace("Rewrite", "Repeat"), encoding="utf-8")
    with pytest.raises(GenerationError, match="other token ids for the source 'the mill'"):
        exported_texts("hf", target, SOURCES)
