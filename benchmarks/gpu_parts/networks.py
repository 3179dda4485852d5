"""Networks with random weights, batches of random tokens, and the floating-point operations that they take.

Axes: B rows of a batch, one source and one target each, L source positions, T target positions.
"""

import importlib
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    T5Config,
)

import understudy.models.forward

Facts = dict[str, Any]
"""What a part has found, as plain data."""
PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
}
"""Part of a GPU's name -> its operations per second in bfloat16 with dense matrices, by the vendor; first match."""
T5_BASE = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
T5_SMALL = {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8}
T5_TINY = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
T5_TINIER = {**T5_TINY, "num_layers": 1}
LARGE = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 27, "num_attention_heads": 14}
SMALL = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8}
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
TINIER = {**TINY, "num_hidden_layers": 1}
PAIRS: dict[str, tuple[dict[str, int], dict[str, int], int]] = {
    # Sizes of teacher and student, and the vocabulary they share.
    "T5-base 223 M and T5-small 61 M": (T5_BASE, T5_SMALL, 32_128),
    "decoder 0.5 B and decoder 59 M": (LARGE, SMALL, 65_536),
}
SMALL_PAIRS = {"tiny T5": (T5_TINY, T5_TINIER, 512), "tiny decoder": (TINY, TINIER, 512)}


@dataclass(frozen=True)
class Sizes:
    """How large everything is; the small sizes take seconds on a CPU."""

    rows: int
    source: int
    target: int
    steps: int
    positions: tuple[int, ...]
    vocabularies: tuple[int, ...]
    width: int
    pairs: dict[str, tuple[dict[str, int], dict[str, int], int]]


FULL = Sizes(256, 128, 64, 10, (1_024, 4_096), (32_128, 262_144), 256, PAIRS)
BRIEF = Sizes(4, 12, 8, 2, (64,), (1_000,), 16, SMALL_PAIRS)


def objectives_module(name: str) -> ModuleType:
    """A module of `understudy.objectives`, also where pydantic is missing, which only the package's table needs."""
    try:
        return importlib.import_module(f"understudy.objectives.{name}")
    except ModuleNotFoundError:
        package = Path(understudy.models.forward.__file__).parents[1]
        spec = importlib.util.spec_from_file_location(f"objectives_{name}", package / "objectives" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def build(sizes: dict[str, int], vocabulary: int, *, seed: int, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A network on the CPU; the same weights for the same seed."""
    torch.manual_seed(seed)
    fixed = {"vocab_size": vocabulary, "pad_token_id": 0, "eos_token_id": 1}
    if "d_model" in sizes:
        config: PretrainedConfig = T5Config(**sizes, **fixed, decoder_start_token_id=0, dropout_rate=0.0)
        model = AutoModelForSeq2SeqLM.from_config(config)
    else:
        config = LlamaConfig(**sizes, **fixed, bos_token_id=1, tie_word_embeddings=True, max_position_embeddings=1024)
        model = AutoModelForCausalLM.from_config(config)
    built: PreTrainedModel = model.to(dtype).eval()
    return built


def batch(sizes: Sizes, vocabulary: int, device: str, *, rows: int, seed: int = 0) -> dict[str, Tensor]:
    """Sources and targets without padding, as `target_logits` takes them."""
    draws = torch.Generator().manual_seed(seed)
    source_ids_SL = torch.randint(2, vocabulary, (rows, sizes.source), generator=draws).to(device)
    target_ids_BT = torch.randint(2, vocabulary, (rows, sizes.target), generator=draws).to(device)
    return {
        "source_ids_SL": source_ids_SL,
        "source_mask_SL": torch.ones_like(source_ids_SL, dtype=torch.bool),
        "source_of_B": torch.arange(rows, device=device),
        "target_ids_BT": target_ids_BT,
        "target_mask_BT": torch.ones_like(target_ids_BT, dtype=torch.bool),
    }


def forward_flops(model: PreTrainedModel, sizes: Sizes, rows: int) -> float:
    """Operations of one forward pass: 2 x parameters x tokens, by the tokens that pass each matrix.

        2 * rows * ((encoder + cross keys and values) * L + rest of decoder * T + head * T)    encoder-decoder
        2 * rows * (decoder * (L + T - 1) + head * T)                                          decoder-only

    A training step takes three times as many: 6 x parameters x tokens. Embeddings are looked up, not multiplied; the
    scores of attention are left out (Kaplan et al. 2020, arXiv:2001.08361, section 2.1).
    """
    outside = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    head: int = model.get_output_embeddings().weight.numel()
    matrices: dict[str, int] = {
        name: one.numel()
        for name, one in model.named_parameters()
        if one.dim() > 1 and id(one) not in outside and "relative_attention_bias" not in name
    }
    if not model.config.is_encoder_decoder:
        return 2.0 * rows * (sum(matrices.values()) * (sizes.source + sizes.target - 1) + head * sizes.target)
    crossing = ("EncDecAttention.k.weight", "EncDecAttention.v.weight")
    source = sum(count for name, count in matrices.items() if name.startswith("encoder.") or name.endswith(crossing))
    target = sum(matrices.values()) - source + head
    return 2.0 * rows * (source * sizes.source + target * sizes.target)


def peak(device: str) -> float | None:
    """The device's operations per second in bfloat16; None where it is unknown."""
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    return next((value for part, value in PEAKS.items() if part in name), None)


def seconds(work: Callable[[], object], device: str, *, repeats: int) -> float:
    """The median time of one call, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        synchronize(device)
        started = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - started)
    return median(times[1:])


def synchronize(device: str) -> None:
    """Waits for what was started on a GPU."""
    if device == "cuda":
        torch.cuda.synchronize()
