"""Memory and time of a training step under settings that trade one for the other.

    python benchmarks/step_memory.py --layers 8 --width 256 --texts 32 --tokens 128 --repeats 5

A decoder-only network with random weights and a vocabulary of 2,000 tokens is trained by cross-entropy on texts of one
length, half source and half target. Memory is the growth of the resident set of a process of its own over that with
weights; times are interleaved, and the table has medians of their ratios to the defaults. Linux only.
"""

import argparse
import gc
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from understudy.models.compilation import compiled_layers
from understudy.models.forward import target_logits
from understudy.models.recomputation import recomputed_layers

VOCABULARY = 2000
MIB = 2**20


def status(name: str) -> int:
    """A size of this process from the kernel, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def network(args: argparse.Namespace, attention: str = "sdpa") -> PreTrainedModel:
    """A Llama; `sdpa` is what transformers uses if nothing is said."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=args.width,
        intermediate_size=4 * args.width,
        num_hidden_layers=args.layers,
        num_attention_heads=8,
        tie_word_embeddings=True,
        attn_implementation=attention,
    )
    model: PreTrainedModel = LlamaForCausalLM(config).train()
    return model.requires_grad_(not args.scoring)


def batch(args: argparse.Namespace) -> dict[str, Tensor]:
    """Random tokens."""
    generator = torch.Generator().manual_seed(0)
    size = args.texts, args.tokens // 2
    source_SL, target_BT = (torch.randint(VOCABULARY, size, generator=generator) for _ in range(2))
    real = torch.ones_like(source_SL, dtype=torch.bool)
    return {
        "source_ids_SL": source_SL,
        "source_mask_SL": real,
        "source_of_B": torch.arange(args.texts),
        "target_ids_BT": target_BT,
        "target_mask_BT": real,
    }


VARIANTS: dict[str, Callable[[argparse.Namespace], PreTrainedModel]] = {
    "default": network,
    "checkpointing": network,
    "compiled": network,
    "eager": lambda args: network(args, "eager"),
    "autocast": network,
    "bf16_weights": lambda args: network(args).bfloat16(),
}
LAYERS: dict[str, Callable[[PreTrainedModel], AbstractContextManager[object]]] = {
    "checkpointing": recomputed_layers,
    "compiled": compiled_layers,
}
"""Variant -> how its layers are called during all its steps."""


def step(variant: str, model: PreTrainedModel, inputs: dict[str, Tensor]) -> float:
    """Forward and, with gradients, backward pass; returns the loss per target token."""
    with torch.autocast("cpu", torch.bfloat16, enabled=variant == "autocast"):
        logits_NV = target_logits(model, **inputs)
    loss = cross_entropy(logits_NV.float(), inputs["target_ids_BT"].flatten())
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    return float(loss.detach())


def measure_memory(variant: str, args: argparse.Namespace) -> None:
    """Prints the growth by a second step, when gradients exist, in MiB."""
    model, inputs = VARIANTS[variant](args), batch(args)
    with LAYERS.get(variant, nullcontext)(model):
        step(variant, model, {name: each[:2] for name, each in inputs.items()})
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts from here
        before = status("VmRSS")
        loss = step(variant, model, inputs)
    print(f"memory {variant:14} {(status('VmHWM') - before) / MIB:7.0f} MiB, loss {loss:.6f}", flush=True)


def measure_times(variants: Sequence[str], args: argparse.Namespace) -> None:
    """Prints median seconds and ratios to the first variant; the first calls, which also compile, are not counted."""
    inputs, models = batch(args), {variant: VARIANTS[variant](args) for variant in variants}
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    with ExitStack() as layers:
        for variant, model in models.items():
            layers.enter_context(LAYERS.get(variant, nullcontext)(model))
            started = time.perf_counter()
            step(variant, model, inputs)
            print(f"first  {variant:14} {time.perf_counter() - started:7.2f} s", flush=True)
        for _ in range(args.repeats):
            for variant, model in models.items():
                model.zero_grad()
                started = time.perf_counter()
                step(variant, model, inputs)
                seconds[variant].append(time.perf_counter() - started)
    for variant in variants:
        ratio = median(own / base for own, base in zip(seconds[variant], seconds[variants[0]], strict=True))
        print(f"time   {variant:14} {median(seconds[variant]):7.2f} s {ratio:5.2f} x", flush=True)


def main() -> None:
    """Prints one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("layers", 8), ("width", 256), ("texts", 32), ("tokens", 128), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--scoring", action="store_true", help="forward passes of a frozen network, as of a teacher")
    parser.add_argument("--times-only", action="store_true")
    parser.add_argument("--one", action="store_true", help="the memory of one variant, in this process")
    args = parser.parse_args()
    if args.one:
        measure_memory(args.variants[0], args)
        return
    sizes = [part for name in ("layers", "width", "texts", "tokens") for part in (f"--{name}", str(vars(args)[name]))]
    sizes += ["--scoring"] * args.scoring
    for variant in () if args.times_only else args.variants:
        command = [sys.executable, __file__, "--one", "--variants", variant, *sizes]
        if subprocess.run(command, check=False).returncode:  # noqa: S603 - this file
            print(f"memory {variant:14} failed", flush=True)
    measure_times(args.variants, args)


if __name__ == "__main__":
    main()
