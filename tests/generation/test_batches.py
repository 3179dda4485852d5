"""Batches of decoder-only models are limited by memory; their texts and log-probabilities do not depend on it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import transformers as tf
from tests.generation.conftest import DECODER
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Beam, Decoding, Greedy, KBeams, Sampling
from understudy.generation import batches, ctranslate, open_engine
from understudy.generation.batches import batches_by_length, most_sources, row_memory, split_batches
from understudy.models.checkpoint import save_network
from understudy.records import Generated

Network = Callable[[str], PreTrainedModel]
Checkpoint = Callable[[str], Path]
Sources = Callable[[PreTrainedModel], list[list[int]]]
LogProb = Callable[[PreTrainedModel, list[int], tuple[int, ...]], float]
GEMMA = {
    "vocab_size": 262_144, "hidden_size": 640, "num_hidden_layers": 18, "num_attention_heads": 4,
    "num_key_value_heads": 1, "head_dim": 256,
}  # fmt: skip


def test_a_row_needs_its_cache_and_its_logits() -> None:
    """The numbers of Gemma 3 270M: keys and values of one head of 256 in each layer, six rows of logits."""
    memory = row_memory(tf.Gemma3TextConfig(**GEMMA), logits_copies=6)

    assert memory is not None
    assert memory.logits_bytes == 6 * 262_144 * 4
    assert memory.position_bytes == 18 * 2 * (1 * 256) * 4


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama", "mistral", "qwen3"])
def test_the_cache_has_the_size_that_transformers_allocates(family: str, network: Network) -> None:
    """All families name their sizes so that the estimate is exact."""
    model = network(family)
    memory = row_memory(model.config, logits_copies=1)
    cache = model(input_ids=model.dummy_inputs["input_ids"][:1, :7] % 100, use_cache=True).past_key_values
    positions = cache.get_seq_length()
    allocated = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)

    assert memory is not None
    assert memory.position_bytes * positions == allocated
    assert memory.logits_bytes == model.get_output_embeddings().weight.shape[0] * 4


def test_an_encoder_decoder_has_no_limit_of_memory(network: Network) -> None:
    """Its batches, and so its samples, are as they were."""
    assert row_memory(network("bart").config, logits_copies=6) is None
    assert most_sources(None, [[1]], rows_per_source=1, max_tokens=1) is None


@pytest.mark.parametrize("rows_per_source", [1, 4])
def test_no_batch_needs_more_memory_than_the_limit(rows_per_source: int) -> None:
    """Rows times the bytes of one, counted here by hand; only a single source may need more."""
    memory = row_memory(tf.Gemma3TextConfig(**GEMMA), logits_copies=6)
    sources = [[0] * length for length in [40, 1, 3, 700, *[20] * 200]]
    most = most_sources(memory, sources, rows_per_source=rows_per_source, max_tokens=64)
    made = batches_by_length(sources, rows_per_source=rows_per_source, batch_tokens=10**9, most_sources=most)

    assert sorted(index for batch in made for index in batch) == list(range(len(sources)))
    for batch in made:
        positions = max(len(sources[index]) for index in batch) + 64
        needed = len(batch) * rows_per_source * (18 * 2 * 256 * 4 * positions + 6 * 262_144 * 4)
        assert needed <= 2**29 or len(batch) == 1


def test_a_group_that_fits_is_not_divided() -> None:
    """The samples of small models stay as they are: they depend on which sources share a call."""
    sources = [[0] * 4, [0] * 2, [0] * 3]

    assert split_batches(sources, [0, 1, 2], batch_tokens=12, most_sources=6) == [[0, 1, 2]]
    assert split_batches(sources, [0, 1, 2], batch_tokens=12, most_sources=None) == [[0, 1, 2]]
    assert split_batches(sources, [0, 1, 2], batch_tokens=12, most_sources=2) == [[0, 2], [1]]


@pytest.mark.parametrize("engine", ["ctranslate2", "hf"])
def test_little_memory_does_not_change_texts(
    engine: str,
    *,
    network: Network,
    checkpoint: Checkpoint,
    sources: Sources,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With memory for one source at a time, the texts of a search are the same, and each source has its own."""
    prompts = sources(network("llama"))
    with open_engine(engine, checkpoint("llama"), workspace=tmp_path, threads=1) as opened:

        def texts(decoding: Decoding, per_source: int) -> list[list[tuple[int, ...]]]:
            made = opened.generate(prompts, decoding, per_source=per_source, max_tokens=9)
            return [[text.token_ids for text in one] for one in made]

        searches: list[tuple[Decoding, int]] = [(Greedy(), 1), (Beam(beams=3), 1), (KBeams(beams=3), 2)]
        together = [texts(*search) for search in searches]
        monkeypatch.setattr(batches, "_BATCH_BYTES", 1)
        assert [texts(*search) for search in searches] == together


def test_samples_do_not_depend_on_threads_when_there_are_several_seeds(
    network: Network, checkpoint: Checkpoint, sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part of the sources has its own seed; parts at the same time give what parts one after another give."""
    monkeypatch.setattr(ctranslate, "_PART", 3)
    prompts, folder = sources(network("llama")), checkpoint("llama")

    def samples(threads: int) -> list[tuple[Generated, ...]]:
        with open_engine("ctranslate2", folder, workspace=tmp_path, threads=threads) as engine:
            return engine.generate(prompts, Sampling(), per_source=3, max_tokens=9, seed=4)

    assert samples(1) == samples(2) == samples(4)


def test_texts_of_several_lengths_are_scored(
    tokenizer: PreTrainedTokenizerBase, sources: Sources, logprob: LogProb, tmp_path: Path
) -> None:
    """One key-value head, as Gemma 3 270M has: CTranslate2 cannot score rows of several lengths at once."""
    config = tf.LlamaConfig(vocab_size=len(tokenizer), **{**DECODER, "num_key_value_heads": 1})
    model = tf.AutoModelForCausalLM.from_config(config).eval()
    save_network(model, tokenizer, tmp_path / "checkpoint")
    prompts = sources(model)
    targets = [(5, 6, 7)[: 1 + index % 3] for index in range(len(prompts))]
    with open_engine("ctranslate2", tmp_path / "checkpoint", workspace=tmp_path, threads=1) as engine:
        scored = engine.score(prompts, targets)

    for source, target, found in zip(prompts, targets, scored, strict=True):
        assert len(found) == len(target)
        assert sum(found) == pytest.approx(logprob(model, source, target), abs=1e-4)
