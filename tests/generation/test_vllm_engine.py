"""The engine `vllm`, against a stand-in with vLLM's own signatures, and against the engine `hf`."""

import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tests.generation.vllm_stub import FACTS, LLM, modules, signature
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Beam, Greedy, KBeams, PoolDecoding, Sampling
from understudy.config.engine_conflicts import LACKED_DECODINGS
from understudy.errors import GenerationError
from understudy.generation import ENGINES, EVERY_DECODING, Engine, live_engine, open_engine, resolve_engine
from understudy.generation.vllm_settings import MEMORY_VARIABLE, memory_share, request_seeds
from understudy.models.checkpoint import save_network

Checkpoint = Callable[[str], Path]
Network = Callable[[str], PreTrainedModel]
SOURCES = [[5, 7, 2], [6], [9, 8, 5, 4, 6, 7]]
TARGETS = [[4, 6], [8], [5, 6, 2]]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Here vLLM is installed, and torch has a GPU with half of its memory free; the models that vLLM has closed."""
    closed: list[str] = []
    for name, module in modules(closed):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (50, 100))
    LLM.opened.clear()
    return closed


@pytest.fixture
def llama(network: Network, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> Path:
    """A tiny Llama whose rows are all tokens: on others vLLM leaves the probability that it does not sample."""
    model = network("llama")
    model.resize_token_embeddings(len(tokenizer))
    save_network(model, tokenizer, tmp_path / "llama")
    return tmp_path / "llama"


@pytest.fixture
def engine(stub: list[str], llama: Path, tmp_path: Path) -> Iterator[Engine]:
    """The engine with the Llama."""
    del stub
    with open_engine("vllm", llama, workspace=tmp_path, device="cuda:0") as found:
        yield found


@pytest.fixture
def reference(llama: Path, tmp_path: Path) -> Iterator[Engine]:
    """The engine `hf` with the same network."""
    with open_engine("hf", llama, workspace=tmp_path) as found:
        yield found


def test_greedy_texts_and_their_log_probabilities_are_those_of_hf(engine: Engine, reference: Engine) -> None:
    """Ids and sums in nats, in the order of the sources; all sources are reported."""
    reported: list[float] = []
    found = engine.generate(
        SOURCES, Greedy(), max_tokens=9, progress=lambda amount, *_args, **_more: reported.append(amount)
    )
    expected = reference.generate(SOURCES, Greedy(), max_tokens=9)

    assert [row[0].token_ids for row in found] == [row[0].token_ids for row in expected]
    assert [row[0].logprob for row in found] == pytest.approx([row[0].logprob for row in expected], abs=1e-4)
    assert sum(reported) == len(SOURCES)
    assert engine.generate([], Greedy(), max_tokens=9) == []


def test_a_stop_id_ends_a_text_and_stays_in_it(engine: Engine, reference: Engine) -> None:
    """As with hf: the tokenizer's end follows, and the log-probability is that of the generated tokens."""
    plain = reference.generate(SOURCES, Greedy(), max_tokens=9)
    stops = {row[0].token_ids[1] for row in plain}
    found, expected = (one.generate(SOURCES, Greedy(), max_tokens=9, stop_ids=stops) for one in (engine, reference))

    assert [row[0].token_ids for row in found] == [row[0].token_ids for row in expected]
    assert [row[0].logprob for row in found] == pytest.approx([row[0].logprob for row in expected], abs=1e-4)
    assert any(len(row[0].token_ids) < len(before[0].token_ids) for row, before in zip(found, plain, strict=True))


def test_given_texts_have_the_log_probabilities_of_hf(engine: Engine, reference: Engine) -> None:
    """One value for each token of a target, given the source and the tokens before it."""
    found, expected = (one.score(SOURCES, TARGETS) for one in (engine, reference))

    assert [len(row) for row in found] == [len(target) for target in TARGETS]
    for row, own in zip(found, expected, strict=True):
        assert row == pytest.approx(own, abs=1e-4)
    assert engine.score([], []) == []


def test_samples_follow_from_the_seed_and_differ(engine: Engine) -> None:
    """Equal calls give equal texts, another seed others; equal sources in one call have samples of their own."""
    sources = [SOURCES[0], SOURCES[0]]
    first, again, other, unseeded, more = (
        engine.generate(sources, Sampling(top_k=0, top_p=1.0), per_source=4, max_tokens=9, seed=seed)
        for seed in (1, 1, 2, None, None)
    )

    assert [len(row) for row in first] == [4, 4]
    assert first == again != other
    assert len({text.token_ids for row in first for text in row}) > 4
    assert unseeded not in (first, more)


def test_the_samples_of_a_source_are_one_request(engine: Engine) -> None:
    """So its prompt is computed once; every request keeps its ids, and none has settings that hf would not."""
    engine.generate(SOURCES, Sampling(temperature=1.5, top_k=4, top_p=0.8), per_source=3, max_tokens=5, seed=7)
    (llm,) = LLM.opened

    assert [ids for ids, _ in llm.requests] == SOURCES
    assert {(own.n, own.temperature, own.top_k, own.top_p) for _, own in llm.requests} == {(3, 1.5, 4, 0.8)}
    assert llm.arguments["enable_prefix_caching"] is True


def test_no_two_requests_of_neighboring_shards_share_a_seed() -> None:
    """The library adds the number of the sample to the seed of the request; 0 is a seed like any other."""
    drawn = [own + sample for seed in range(20) for own in request_seeds(seed, 50, per_source=8) for sample in range(8)]

    assert len(set(drawn)) == 20 * 50 * 8
    assert 0 <= min(drawn) <= max(drawn) < 2**63
    assert request_seeds(None, 3, 2) != request_seeds(None, 3, 2)


def test_the_checkpoint_is_opened_with_dtype_device_and_memory(
    stub: list[str], llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library reads no tokenizer and no sampling settings, works in this process, and is closed afterwards."""
    before, state = dict(os.environ), torch.get_rng_state()
    with open_engine("vllm", llama, workspace=tmp_path, dtype="bfloat16", device="cuda:1") as engine:
        assert engine.name == "vllm"
    (llm,) = LLM.opened

    assert llm.arguments["model"] == str(llama)
    assert (llm.arguments["dtype"], llm.arguments["device_ids"]) == ("bfloat16", [1])
    assert llm.arguments["gpu_memory_utilization"] == 0.45
    assert (llm.arguments["skip_tokenizer_init"], llm.arguments["generation_config"]) == (True, "vllm")
    assert llm.environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert llm.environment["VLLM_NO_USAGE_STATS"] == "1"
    assert (llm.closed, stub) == (True, ["process group"])
    assert dict(os.environ) == before
    assert torch.equal(torch.get_rng_state(), state)

    monkeypatch.setenv(MEMORY_VARIABLE, "0.6")
    assert memory_share(0) == 0.6
    monkeypatch.setenv(MEMORY_VARIABLE, "60 %")
    with pytest.raises(GenerationError, match=rf"{MEMORY_VARIABLE} is '60 %'.*above 0 and up to 1"):
        memory_share(0)


def test_rows_without_a_token_are_never_generated(
    stub: list[str], network: Network, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """The output layer prefers such a row at every step; it is forbidden in each request."""
    del stub
    model = network("llama")
    rows, tokens = model.get_input_embeddings().weight.shape[0], len(tokenizer)
    assert rows > tokens + 1
    with torch.no_grad():
        model.get_output_embeddings().weight[tokens] = 50.0
        model.get_output_embeddings().weight[tokens + 1] = -50.0
    save_network(model, tokenizer, tmp_path / "padded")
    with open_engine("vllm", tmp_path / "padded", workspace=tmp_path, device="cuda:0") as engine:
        texts = engine.generate(SOURCES, Greedy(), max_tokens=5)

    assert all(token < tokens for row in texts for token in row[0].token_ids)
    assert LLM.opened[-1].requests[0][1].logit_bias == dict.fromkeys(range(tokens, rows), -math.inf)


@pytest.mark.parametrize(
    ("decoding", "per_source", "max_tokens", "message"),
    [
        (Beam(beams=2), 1, 5, "'vllm' does not have decoding beam, only greedy, sampling; use engine 'hf'"),
        (KBeams(beams=2), 2, 5, "does not have decoding k_beams"),
        (Greedy(), 2, 5, "greedy gives one text per source, 2 "),
        (Sampling(temperature=2.5), 1, 5, r"temperature is 2\.5.*from 0\.01 to 2\.0"),
        (Greedy(), 1, 500, rf"506 positions.*{MEMORY_VARIABLE}.*'hf'"),
    ],
)
def test_what_vllm_would_do_otherwise_is_refused(
    decoding: PoolDecoding, per_source: int, max_tokens: int, message: str, *, engine: Engine
) -> None:
    """The message has what was requested and what works."""
    with pytest.raises(GenerationError, match=message):
        engine.generate(SOURCES, decoding, per_source=per_source, max_tokens=max_tokens)


def test_without_vllm_or_a_gpu_the_message_has_the_remedy(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is opened; an encoder-decoder is refused for what it is."""
    folder = checkpoint("llama")
    with pytest.raises(GenerationError, match=r"'vllm'.*does not support a 'bart' model.*'hf'"):
        resolve_engine("vllm", checkpoint("bart"))
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.delitem(sys.modules, "vllm")
    monkeypatch.setattr("understudy.generation.vllm_engine.find_spec", lambda _name: None)
    with pytest.raises(GenerationError, match=r"vLLM is not installed: pip install 'understudy\[vllm\]'"):
        resolve_engine("vllm", folder)
    monkeypatch.setattr("understudy.generation.vllm_engine.find_spec", lambda _name: object())
    with pytest.raises(GenerationError, match=r"no GPU that torch can use"):
        resolve_engine("vllm", folder)
    with (
        pytest.raises(GenerationError, match=r"no GPU that torch can use"),
        open_engine("vllm", folder, workspace=tmp_path, device="cpu"),
    ):
        pass


def test_a_cpu_is_refused_where_there_is_a_gpu(stub: list[str], checkpoint: Checkpoint, tmp_path: Path) -> None:
    """The message has the devices that the engine runs on."""
    del stub
    with (
        pytest.raises(GenerationError, match=r"'vllm' does not run on 'cpu', only on cuda"),
        open_engine("vllm", checkpoint("llama"), workspace=tmp_path, device="cpu"),
    ):
        pass


def test_auto_is_vllm_only_where_it_can_do_all_that_is_needed(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU, vLLM, a decoder-only model that CTranslate2 gets wrong, and a decoding that vLLM has."""
    yarn, t5 = checkpoint("llama-yarn"), checkpoint("umt5")
    assert resolve_engine("auto", yarn, Sampling()) == "hf"
    for name, module in modules([]):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_engine("auto", yarn, Sampling()) == "hf"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    assert resolve_engine("auto", yarn, Sampling()) == "vllm"
    assert resolve_engine("auto", yarn, Beam()) == "hf"
    assert resolve_engine("auto", yarn) == "hf"  # whatever will be requested
    assert resolve_engine("auto", t5, Sampling()) == "hf"
    assert resolve_engine("auto", checkpoint("llama"), Sampling()) == "ctranslate2"


def test_a_model_in_memory_generates_with_torch(
    stub: list[str], network: Network, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    """The library would hold a second copy of its weights next to it."""
    del stub
    with live_engine("vllm", network("llama"), tokenizer, workspace=tmp_path) as live:
        assert live.name == "hf"
    assert LLM.opened == []


def test_the_decodings_that_recipes_refuse_are_those_an_engine_lacks() -> None:
    """The table in `config` and the engines' own."""
    for name, entry in ENGINES.items():
        lacked = {*EVERY_DECODING, "diverse_beam"} - entry.capabilities.decodings
        assert lacked == LACKED_DECODINGS.get(name, set())


def test_every_declared_family_is_an_architecture_of_vllm() -> None:
    """The class that transformers loads for it is in vLLM's list of text generation models."""
    families = ENGINES["vllm"].capabilities.families
    assert families
    classes = {family: AutoModelForCausalLM._model_mapping[type(config_for(family))].__name__ for family in families}

    assert set(classes.values()) <= set(FACTS["architectures"]), classes


def config_for(family: str) -> PretrainedConfig:
    """A config of a family with its defaults."""
    found = AutoConfig.for_model(family)
    assert isinstance(found, PretrainedConfig)
    return found


def test_a_wrong_argument_is_noticed() -> None:
    """The stand-in refuses what the sources do not declare."""
    for names, arguments in (
        (("SamplingParams",), {"best_of": 2}),
        (("LLM.__init__", "EngineArgs"), {"model": "m", "swap_space": 4}),
        (("LLM.generate",), {"prompts": [], "prompt_token_ids": []}),
    ):
        with pytest.raises(TypeError, match="unexpected keyword"):
            signature(*names).bind(**arguments)
