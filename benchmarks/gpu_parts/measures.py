"""What is measured: agreement with the CPU, speed and MFU of training, memory of the loss, speed of generation.

Each part is a function of a device and sizes that returns plain data; `PARTS` is their table.
Axes: N target positions, V vocabulary.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from benchmarks.gpu_parts.losses import cached_loss, joint_teaching_loss, kept_logprobs, loss_memory
from benchmarks.gpu_parts.networks import BRIEF, Facts, Sizes, batch, build, forward_flops, peak, seconds
from benchmarks.gpu_parts.texts import engines, generated, generation
from torch import Tensor
from transformers import PreTrainedModel

from understudy.models.forward import target_logits
from understudy.models.projection import projection
from understudy.training.chunked_loss import chunked_loss

AGREEMENT = {"loss": 1e-4, "gradient": 1e-3, "logprob": 1e-3, "different_texts": 0.0}
"""Largest differences that rounding in float32 explains: relative, relative norm, nats per token, share of texts."""
SMALLEST = 2
"""Rows with which a step is not tried."""


def correctness(device: str, sizes: Sizes) -> Facts:
    """A small pair of each kind on the device in float32, against the CPU in float64.

    Loss and gradients of one step; greedy texts, and the log-probabilities of the CPU's texts.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    del sizes
    return {name: _agreement(name, device) for name in BRIEF.pairs}


def _agreement(name: str, device: str) -> Facts:
    teacher_sizes, student_sizes, vocabulary = BRIEF.pairs[name]
    found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for place, dtype in (("cpu", torch.float64), (device, torch.float32)):
        teacher, student = (
            build(one, vocabulary, seed=seed).to(place, dtype)
            for seed, one in enumerate((teacher_sizes, student_sizes))
        )
        inputs = batch(BRIEF, vocabulary, place, rows=BRIEF.rows)
        loss = joint_teaching_loss(student, teacher, inputs, in_chunks=dtype == torch.float32)
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = torch.cat(
            [one.grad.flatten().double().cpu() for one in student.parameters() if one.grad is not None]
        )
        texts = generated(teacher, inputs["source_ids_SL"], BRIEF.target, sample=False)
        # The log-probabilities of the CPU's texts: a difference in one token would change all that follow.
        targets = found[0][2].to(place) if found else texts
        with torch.no_grad():
            logits_NV = target_logits(
                teacher, **inputs | {"target_ids_BT": targets, "target_mask_BT": torch.ones_like(targets) > 0}
            )
        logprobs_N = logits_NV.double().log_softmax(-1).gather(1, targets.reshape(-1, 1)).cpu()
        found.append((loss.detach().double().cpu(), gradient, texts.cpu(), logprobs_N))
    (loss, gradient, texts, logprobs_N), other = found
    differences = {
        "loss": float((other[0] - loss).abs() / loss.abs()),
        "gradient": float((other[1] - gradient).norm() / gradient.norm()),
        "logprob": float((other[3] - logprobs_N).abs().max()),
        "different_texts": float((other[2] != texts).any(dim=1).double().mean()),
    }
    return {**differences, "holds": all(differences[key] <= most for key, most in AGREEMENT.items())}


def training(device: str, sizes: Sizes) -> Facts:
    """Speed of the pieces of Joint-Teaching, and of a round of them, for each pair."""
    return {name: _round_speed(device, sizes, *pair) for name, pair in sizes.pairs.items()}


def _round_speed(
    device: str, sizes: Sizes, teacher_sizes: dict[str, int], student_sizes: dict[str, int], vocabulary: int
) -> Facts:
    """A step on cached log-probabilities, the teacher's scoring of as many texts, and a round of Joint-Teaching.

    A round has one step on all rows, half of which the student has sampled and the teacher scored before. Its
    operations are 3 forward passes of the student, half of one of the teacher, and half of one for the samples.
    """
    teacher, student = (
        build(one, vocabulary, seed=seed).to(device) for seed, one in enumerate((teacher_sizes, student_sizes))
    )
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-5, fused=True)
    facts: Facts = {"parameters": [sum(one.numel() for one in model.parameters()) for model in (teacher, student)]}
    facts["rows"] = rows = _fitting(partial(_one_step, student, teacher, optimizer, device), sizes, vocabulary)
    inputs = batch(sizes, vocabulary, device, rows=rows)
    with computing(device), torch.no_grad():
        kept = kept_logprobs(target_logits(teacher, **inputs))
    flops = {one: forward_flops(model, sizes, rows) for one, model in (("teacher", teacher), ("student", student))}
    half = {key: value[: rows // 2] for key, value in inputs.items()}

    def scored() -> tuple[Tensor, Tensor]:
        with computing(device), torch.no_grad():
            return kept_logprobs(target_logits(teacher, **inputs))

    def round_of_both() -> None:
        """A half of the texts is sampled by the student and scored by the teacher; all are trained on."""
        with computing(device), torch.no_grad():
            samples = generated(student, half["source_ids_SL"], sizes.target, sample=True)
            own = half | {"target_ids_BT": samples, "target_mask_BT": torch.ones_like(samples) > 0}
            new = kept_logprobs(target_logits(teacher, **own))
        targets = torch.cat([samples, inputs["target_ids_BT"][len(samples) :]])
        both = tuple(torch.cat([one, old[len(one) :]]) for one, old in zip(new, kept, strict=True))
        _step(student, optimizer, inputs | {"target_ids_BT": targets}, both, device)

    pieces: dict[str, tuple[Callable[[], object], float]] = {
        "step": (lambda: _step(student, optimizer, inputs, kept, device), 3 * flops["student"]),
        "scoring": (scored, flops["teacher"]),
        "round": (round_of_both, 3 * flops["student"] + flops["teacher"] / 2 + flops["student"] / 2),
    }
    most = peak(device)
    for name, (work, operations) in pieces.items():
        took = seconds(work, device, repeats=sizes.steps if name != "round" else max(1, sizes.steps // 5))
        facts[name] = {
            "seconds": took,
            "target_tokens_per_second": rows * sizes.target / took,
            "tokens_per_second": rows * (sizes.source + sizes.target) / took,
            "mfu": None if most is None else operations / took / most,
        }
    facts["peak_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None
    return facts


def _step(
    student: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    inputs: dict[str, Tensor],
    kept: tuple[Tensor, ...],
    device: str,
) -> None:
    """One optimizer step on cached log-probabilities."""
    student.train()
    with computing(device):
        states = projection(student, **inputs)
    (chunked_loss(states, cached_loss(kept)) / len(kept[0])).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()
    student.eval()


def _one_step(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    device: str,
    inputs: dict[str, Tensor],
) -> None:
    with computing(device), torch.no_grad():
        kept = kept_logprobs(target_logits(teacher, **inputs))
    _step(student, optimizer, inputs, kept, device)


def _fitting(work: Callable[[dict[str, Tensor]], None], sizes: Sizes, vocabulary: int) -> int:
    """The largest number of rows, halved from that of the sizes, with which the work fits into the memory."""
    device = work.args[-1] if isinstance(work, partial) else "cpu"
    rows = sizes.rows
    while rows > SMALLEST:
        try:
            work(batch(sizes, vocabulary, device, rows=rows))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            rows //= 2
        else:
            return rows
    return rows


def computing(device: str) -> AbstractContextManager[object]:
    """What `precision: auto` computes in: bf16 on a GPU that has it, else float32."""
    if device == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


PARTS: dict[str, tuple[Callable[[str, Sizes], Any], int]] = {
    "correctness": (correctness, 45),
    "training": (training, 140),
    "loss": (loss_memory, 50),
    "generation": (generation, 80),
    "engines": (engines, 40),
    # By itself, because opening vLLM compiles the network.
    "vllm": (partial(engines, names=("hf", "vllm")), 105),
}
"""Name -> the function and the seconds after which it is ended: 460 together."""
