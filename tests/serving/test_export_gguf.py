"""GGUF files in a real llama.cpp server (the wheel xllamacpp): its texts are those of transformers."""

import string
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
import torch
import transformers as tf
from tests.api_teacher.foreign import tokenizer_of
from tests.gguf_file import byte_tokenizer
from tests.models.chat_templates import GEMMA_3, QWEN_2_5
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from understudy.config.decoding import Greedy
from understudy.errors import GenerationError
from understudy.generation.hf import HuggingFaceEngine
from understudy.models.checkpoint import save_network
from understudy.models.task_tokenizer import TextLimits, checkpoint_task_tokenizer
from understudy.models.text import set_source_format
from understudy.models.tokenizers import train_tokenizer
from understudy.records import Example
from understudy.serving.deployment import Deployment
from understudy.serving.export import exported_texts, write_export
from understudy.serving.export_gguf import FILE, _post, _server
from understudy.serving.export_target import ExportTarget, export_target
from understudy.serving.gguf_network import gguf_family
from understudy.serving.gguf_tokenizer import tokenizer_fields

gguf = pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

SOURCES = ["the mill is near the eagle", "the eagle costs 25 pounds", "a café, 3 stars", "two  spaces\nand a line 日本"]
UNSEEN = ["stars and the mill, near 25 pounds or 3 eagles", "eagle", "mill 3", "a line and the stars", "25"]
"""Not trained: errors in the weights change what follows."""
TARGETS = ["eagle near mill", "25 pounds", "café: 3", "日本 and two"]
SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.1,
}  # fmt: skip
LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}  # fmt: skip
GEMMA = {
    **SIZES, "num_hidden_layers": 6, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16,
    "layer_types": [*["sliding_attention"] * 5, "full_attention"],
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        "full_attention": {"rope_type": "default", "rope_theta": 500.0},
    },
}  # fmt: skip
ROLES = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def byte_fallback(*, prefix: bool) -> tf.PreTrainedTokenizerFast:
    """A tokenizer like Llama 2's (with a space before a text) or Gemma's, whose merges are all pairs of its tokens."""
    alphabet = [*string.ascii_letters, *string.digits, "▁", ",", "é"]
    trained = Tokenizer(models.BPE())
    trained.train_from_iterator(
        ["▁" + text.replace(" ", "▁") for text in SOURCES * 3],
        trainers.BpeTrainer(vocab_size=90, initial_alphabet=alphabet, show_progress=False),
    )
    learned = sorted(trained.get_vocab(), key=lambda token: trained.get_vocab()[token])
    learned = [token for token in learned if "\n" not in token and "日" not in token and "本" not in token]
    tokens = ["<pad>", "<s>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *learned]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    merges = [
        (token[:cut], token[cut:])
        for token in learned
        for cut in range(1, len(token))
        if token[:cut] in vocabulary and token[cut:] in vocabulary
    ]
    unknown = {"unk_token": "<unk>", "fuse_unk": True}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, **unknown))
    spaces = normalizers.Replace(" ", "▁")
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if prefix else spaces
    if not prefix:
        core.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    last = [decoders.Strip(" ", 1, 0)] if prefix else []
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *last])
    return tf.PreTrainedTokenizerFast(tokenizer_object=core, **ROLES)


def qwen() -> tf.PreTrainedTokenizerFast:
    """A byte-level tokenizer with turns."""
    tokenizer = byte_tokenizer(SOURCES)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = QWEN_2_5
    return tokenizer


def gemma() -> tf.PreTrainedTokenizerFast:
    """A tokenizer with byte fallback and turns."""
    tokenizer = byte_fallback(prefix=False)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]})
    tokenizer.chat_template = GEMMA_3
    return tokenizer


Case = tuple[Callable[..., tf.PretrainedConfig], Mapping[str, object], Callable[[], tf.PreTrainedTokenizerFast], str]
CASES: dict[str, Case] = {
    "llama-3": (tf.LlamaConfig, {**SIZES, "rope_parameters": LLAMA_3}, lambda: tokenizer_of(SOURCES), "separator"),
    "llama-2": (tf.LlamaConfig, {**SIZES, "attention_bias": True}, lambda: byte_fallback(prefix=True), "none"),
    "mistral": (tf.MistralConfig, {**SIZES, "head_dim": 8}, lambda: byte_fallback(prefix=True), "separator"),
    "qwen2": (tf.Qwen2Config, {**SIZES, "tie_word_embeddings": True}, qwen, "chat"),
    "qwen3": (tf.Qwen3Config, {**SIZES, "head_dim": 32}, qwen, "chat"),
    "gemma3": (tf.Gemma3TextConfig, GEMMA, gemma, "chat"),
}


def deployed(name: str, folder: Path, **changed: object) -> Deployment:
    """A random network whose weights are exact in f16, with its tokenizer."""
    kind, settings, make_tokenizer, chosen = CASES[name]
    tokenizer = make_tokenizer()
    set_source_format(tokenizer, chosen)  # type: ignore[arg-type]
    roles = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad")}
    torch.manual_seed(1)
    config = kind(**{"vocab_size": len(tokenizer) + 5, **roles, **settings, **changed})
    model = tf.AutoModelForCausalLM.from_config(config).eval()
    for own in model.parameters():
        own.data += 0.1 * torch.randn_like(own) if own.ndim == 1 else 0  # norms and biases are not all alike
    limits = TextLimits("Say: {source}", 80, 24)
    save_network(model, tokenizer, folder)
    reader = checkpoint_task_tokenizer(limits, str(folder))
    rows = reader.encode_sources([Example("", source) for source in SOURCES])
    train(model, [torch.tensor(a + b) for a, b in zip(rows, reader.encode_targets(TARGETS), strict=True)])
    save_network(model, tokenizer, folder)
    return Deployment("tiny", "s", "k", folder, folder.parent / "conversions", "hf", Greedy(), limits)


def train(model: tf.PreTrainedModel, rows: list[torch.Tensor]) -> None:
    """Makes each text much more probable than others, so that rounding decides nothing; weights are exact in f16."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    labels_BT = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
    for _ in range(30):
        loss = model(input_ids=labels_BT.clamp(min=0), labels=labels_BT).loss
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    for own in model.parameters():
        own.data = own.data.half().float()


def evaluated(own: Deployment) -> list[str]:
    """The greedy texts of transformers."""
    reader = checkpoint_task_tokenizer(own.limits, str(own.checkpoint))
    model = tf.AutoModelForCausalLM.from_pretrained(own.checkpoint, dtype=torch.float32).eval()
    rows = reader.encode_sources([Example("", source) for source in SOURCES])
    texts = HuggingFaceEngine(model, reader.tokenizer).generate(rows, Greedy(), max_tokens=24)
    return [reader.decode(text[0].token_ids).strip() for text in texts]


Exporter = Callable[[str, Path, str], ExportTarget]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exporter:
    """Writes an export of a network, which is trained once."""

    @cache
    def trained(name: str) -> Deployment:
        return deployed(name, tmp_path_factory.mktemp(name) / "checkpoint")

    def export(name: str, folder: Path, precision: str) -> ExportTarget:
        (folder / "out").mkdir()
        target = export_target(trained(name), precision, folder / "out")
        write_export("gguf", target)
        return target

    return export


@pytest.mark.parametrize("name", CASES)
def test_llama_cpp_generates_the_texts_of_transformers(exported: Exporter, name: str, tmp_path: Path) -> None:
    """Weights, tokenizer, template and end are right for each family: the server gets the source as one message."""
    target = exported(name, tmp_path, "f16")
    own = target.deployment
    found = exported_texts("gguf", target, SOURCES)
    assert found == evaluated(own)
    assert found == TARGETS
    server, torch_ = first_logprobs(target), expected_logprobs(own)
    assert server
    assert {row: torch_[row] for row in server} == {row: pytest.approx(own, abs=0.02) for row, own in server.items()}


def unseen(own: Deployment) -> list[list[int]]:
    """Sources that were not trained, as token ids."""
    reader = checkpoint_task_tokenizer(own.limits, str(own.checkpoint))
    return reader.encode_sources([Example("", source) for source in UNSEEN])


def first_logprobs(target: ExportTarget) -> dict[int, list[float]]:
    """What the server says of the most probable first tokens; nothing of part of a character, or of an end."""
    found = {}
    with _server(target) as address:
        for number, row in enumerate(unseen(target.deployment)):
            body = {"prompt": row, "n_predict": 1, "n_probs": 3, "temperature": 0.0}
            if answer := _post(f"{address}/completion", body).get("completion_probabilities"):
                found[number] = [one["logprob"] for one in answer[0]["top_logprobs"]]
    return found


def expected_logprobs(own: Deployment) -> dict[int, list[float]]:
    """The same by transformers, for all sources."""
    model = tf.AutoModelForCausalLM.from_pretrained(own.checkpoint, dtype=torch.float32).eval()
    tokens = len(checkpoint_task_tokenizer(own.limits, str(own.checkpoint)).tokenizer)
    with torch.no_grad():
        logits = [model(torch.tensor([row])).logits[0, -1, :tokens] for row in unseen(own)]
    return {number: row_V.log_softmax(-1).topk(3).values.tolist() for number, row_V in enumerate(logits)}


@pytest.mark.parametrize("precision", ["q8_0", "q4_0"])
def test_reduced_precision_is_written_and_read(exported: Exporter, precision: str, tmp_path: Path) -> None:
    """Matrices have the type, vectors are in float32, and the server answers."""
    target = exported("llama-3", tmp_path, precision)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "out" / FILE).tensors}
    assert kinds.items() >= {
        ("blk.0.ffn_up.weight", precision.upper()),
        ("token_embd.weight", "Q8_0"),
        ("output_norm.weight", "F32"),
    }
    assert len(exported_texts("gguf", target, SOURCES)) == len(SOURCES)


def test_the_example_prints_the_text(exported: Exporter, tmp_path: Path) -> None:
    """The program in the folder needs neither this package nor torch."""
    exported("llama-2", tmp_path, "f16")
    command = [sys.executable, "example.py", SOURCES[1]]
    done = subprocess.run(command, cwd=tmp_path / "out", env={"PATH": ""}, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == TARGETS[1]


@pytest.mark.parametrize(
    ("name", "changed", "what"),
    [
        ("llama-3", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0}}, "'yarn' rotary"),
        ("mistral", {"sliding_window": 50}, "window of 50 tokens is exceeded by 104"),
        ("qwen2", {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}}, "'linear' rotary"),
        ("gemma3", {"query_pre_attn_scalar": 16}, "scales queries by 16, not by 32"),
        ("gemma3", {"layer_types": ["full_attention"] * 6}, "do not repeat five with a sliding window"),
    ],
)
def test_a_network_that_llama_cpp_computes_otherwise_is_refused(
    name: str, changed: dict[str, object], what: str
) -> None:
    """In one sentence, before anything is written."""
    kind, settings, _, _ = CASES[name]
    with pytest.raises(GenerationError, match=what):
        gguf_family(kind(**{**settings, **changed}), 104)


def test_other_families_and_tokenizers_are_refused() -> None:
    """An encoder-decoder, a tokenizer without bytes, and words that llama.cpp divides otherwise."""
    with pytest.raises(GenerationError, match="a 't5' model"):
        gguf_family(tf.T5Config(), 104)
    with pytest.raises(GenerationError, match="neither byte-level nor has a token for every byte"):
        tokenizer_fields(train_tokenizer(SOURCES * 3, vocab_size=150))
    other = byte_tokenizer(SOURCES)
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex("[a-z]+"), "isolated"), pre_tokenizers.ByteLevel(use_regex=False)]
    )
    with pytest.raises(GenerationError, match="divides texts by"):
        tokenizer_fields(other)
