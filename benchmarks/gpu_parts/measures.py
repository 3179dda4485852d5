"""What is measured: agreement with the CPU, speed and MFU of training, memory of the loss, speed of generation.

Each part is a function of a device and sizes that returns plain data; `PARTS` is their table.
Axes: N target positions, C those of a chunk, R rows of it, V vocabulary, H hidden width, K kept tokens.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.gpu_parts.networks import (
    BRIEF,
    Sizes,
    batch,
    build,
    forward_flops,
    objectives_module,
    peak,
    seconds,
    synchronize,
)
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from understudy.models.forward import target_logits
from understudy.models.projection import Projection, projection
from understudy.training.chunked_loss import LossOfChunk, LossOfRows, chunked_loss

KEPT = 32
"""Tokens of a teacher's distribution that are cached."""
AGREEMENT = {"loss": 1e-4, "gradient": 1e-3, "logprob": 1e-3, "different_texts": 0.0}
"""Largest differences that rounding in float32 explains: relative, relative norm, nats per token, share of texts."""
SMALLEST = 2
"""Rows with which a step is not tried."""
Facts = dict[str, Any]


def joint_teaching_loss(
    student: PreTrainedModel, teacher: PreTrainedModel, inputs: dict[str, Tensor], *, in_chunks: bool = False
) -> Tensor:
    """The mean over positions of the KL from a teacher's logits and from its cached log-probabilities.

    In chunks as training computes it, or from all logits as their definitions say.
    """
    forward_kl, bucketed = objectives_module("divergences").forward_kl, objectives_module("sparse").bucketed
    with torch.no_grad():
        teacher_NV = target_logits(teacher, **inputs)
    kept = kept_logprobs(teacher_NV)

    def of_rows(logits_RV: Tensor, teacher_RV: Tensor, kept_R: tuple[Tensor, ...]) -> Tensor:
        loss: Tensor = forward_kl(logits_RV, teacher_RV) + forward_kl(*bucketed(logits_RV, *kept_R))
        return loss

    def of_chunk(chunk: slice) -> LossOfRows:
        teacher_CV, kept_C = teacher_NV[chunk], [one[chunk] for one in kept]
        return lambda logits_RV, rows: of_rows(logits_RV, teacher_CV[rows], tuple(one[rows] for one in kept_C))

    if in_chunks:
        return chunked_loss(projection(student, **inputs), of_chunk) / len(teacher_NV)
    return of_rows(target_logits(student, **inputs), teacher_NV, kept) / len(teacher_NV)


def kept_logprobs(logits_NV: Tensor) -> tuple[Tensor, Tensor]:
    """Ids and log-probabilities, both NK, as a cache has them."""
    logp_NK, ids_NK = logits_NV.float().log_softmax(dim=-1).topk(min(KEPT, logits_NV.shape[1]), dim=-1)
    return ids_NK, logp_NK


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
    (chunked_loss(states, _cached(kept)) / len(kept[0])).backward()  # type: ignore[no-untyped-call]
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


def _cached(kept: tuple[Tensor, ...]) -> LossOfChunk:
    """Forward KL from cached log-probabilities, by chunks."""
    forward_kl, bucketed = objectives_module("divergences").forward_kl, objectives_module("sparse").bucketed

    def of_chunk(chunk: slice) -> LossOfRows:
        own = [one[chunk] for one in kept]
        return lambda logits_RV, rows: forward_kl(*bucketed(logits_RV, *(one[rows] for one in own)))

    return of_chunk


def _naive(hidden_NH: Tensor, head: nn.Linear, teacher_NV: Tensor) -> Tensor:
    student_logp_NV = head(hidden_NH).float().log_softmax(-1)
    return F.kl_div(student_logp_NV, teacher_NV.float().log_softmax(-1), log_target=True, reduction="sum")


def _dense(hidden_NH: Tensor, head: nn.Linear, teacher_NV: Tensor) -> Tensor:
    forward_kl = objectives_module("divergences").forward_kl

    def of_chunk(chunk: slice) -> LossOfRows:
        teacher_CV = teacher_NV[chunk]
        return lambda logits_RV, rows: forward_kl(logits_RV, teacher_CV[rows])

    return chunked_loss(Projection(hidden_NH, head, head.weight.dtype), of_chunk)


def _sparse(hidden_NH: Tensor, head: nn.Linear, teacher_NV: Tensor) -> Tensor:
    # Any log-probabilities: finding the best of all logits would need the memory that a cache saves.
    ids_NK = torch.arange(KEPT, device=teacher_NV.device).expand(len(teacher_NV), KEPT)
    kept = (ids_NK, teacher_NV[:, :KEPT].log_softmax(-1) - 0.1)
    return chunked_loss(Projection(hidden_NH, head, head.weight.dtype), _cached(kept))


LOSSES: dict[str, Callable[[Tensor, nn.Linear, Tensor], Tensor]] = {
    "torch kl_div": _naive,
    "understudy": _dense,
    f"understudy, {KEPT} kept tokens": _sparse,
}


def loss_memory(device: str, sizes: Sizes) -> list[Facts]:
    """Peak memory beyond the inputs and the head's gradient, and time, of head and loss forwards and backwards."""
    return [
        {"loss": name, "vocabulary": vocabulary, "positions": positions}
        | _loss_cost(LOSSES[name], device, vocabulary, positions, sizes.width)
        for vocabulary in sizes.vocabularies
        for positions in sizes.positions
        for name in LOSSES
    ]


def _loss_cost(
    loss: Callable[[Tensor, nn.Linear, Tensor], Tensor], device: str, vocabulary: int, positions: int, width: int
) -> Facts:
    torch.manual_seed(0)
    hidden_NH = torch.randn(positions, width, device=device, requires_grad=True)
    head = nn.Linear(width, vocabulary, bias=False, device=device)
    teacher_NV = torch.randn(positions, vocabulary, device=device)

    def work() -> None:
        hidden_NH.grad = head.weight.grad = None
        loss(hidden_NH, head, teacher_NV).backward()  # type: ignore[no-untyped-call]

    try:
        work()
        peak_mib = None
        if device == "cuda":
            hidden_NH.grad = head.weight.grad = None
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            work()
            own = head.weight.numel() * head.weight.element_size()
            peak_mib = (torch.cuda.max_memory_allocated() - before - own) / 2**20
        return {"peak_mib": peak_mib, "seconds": seconds(work, device, repeats=3)}
    except torch.OutOfMemoryError:
        return {"peak_mib": None, "seconds": None, "error": "out of memory"}


def generated(model: PreTrainedModel, source_ids_SL: Tensor, length: int, *, sample: bool) -> Tensor:
    """Ids of texts of exactly this length, one for each source; none ends earlier."""
    settings = GenerationConfig(
        max_new_tokens=length,
        min_new_tokens=length,
        do_sample=sample,
        num_beams=1,
        eos_token_id=1,
        pad_token_id=0,
        decoder_start_token_id=0,
        **({"top_k": 0} if sample else {}),
    )
    with torch.no_grad():
        rows = model.generate(
            input_ids=source_ids_SL, attention_mask=torch.ones_like(source_ids_SL), generation_config=settings
        )
    texts: Tensor = rows[:, -length:]
    return texts


def generation(device: str, sizes: Sizes) -> Facts:
    """Tokens per second of transformers, greedily and sampled, for teachers and students with bf16 weights on a GPU."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    facts: Facts = {}
    for name, (teacher, student, vocabulary) in sizes.pairs.items():
        sources = batch(sizes, vocabulary, device, rows=max(4, sizes.rows // 4))["source_ids_SL"]
        for role, own in (("teacher", teacher), ("student", student)):
            model = build(own, vocabulary, seed=0, dtype=dtype).to(device)
            for kind, sample in (("greedy", False), ("sampled", True)):
                work = partial(generated, model, sources, sizes.target, sample=sample)
                took = seconds(work, device, repeats=1)
                facts[f"{name}: {role}, {kind}"] = {"tokens_per_second": len(sources) * sizes.target / took}
    return facts


def engines(device: str, sizes: Sizes, *, names: tuple[str, ...] = ("hf", "ctranslate2")) -> Facts:
    """Engines of understudy on a checkpoint of a decoder: texts against `hf`, and speed; or why one is not here.

    Needs the required packages of understudy, which the other parts do not.
    """
    try:
        from benchmarks.gpu_parts.checkpoints import open_engines
    except ModuleNotFoundError as error:
        return {name: {"not_here": str(error)} for name in names}
    small = replace(sizes, rows=max(4, sizes.rows // 4))
    return dict(_engine_speeds(open_engines(names, small, device), small))


def _engine_speeds(opened: Iterator[tuple[str, Any, list[list[int]]]], sizes: Sizes) -> Iterator[tuple[str, Facts]]:
    expected = None
    for name, engine, sources in opened:
        if isinstance(engine, str):
            yield name, {"not_here": engine}
            continue
        from understudy.config.decoding import Greedy, Sampling

        texts = engine.generate(sources, Greedy(), max_tokens=sizes.target)
        expected = expected or texts
        times = {}
        for kind, decoding, count in (("greedy", Greedy(), 1), ("4 samples", Sampling(), 4)):
            synchronize("cuda" if torch.cuda.is_available() else "cpu")
            started = time.perf_counter()
            found = engine.generate(sources, decoding, per_source=count, max_tokens=sizes.target, seed=1)
            tokens = sum(len(text.token_ids) for row in found for text in row)
            times[kind] = tokens / (time.perf_counter() - started)
        same = sum(one[0].token_ids == other[0].token_ids for one, other in zip(texts, expected, strict=True))
        yield name, {"same_greedy_texts_as_hf": [same, len(sources)], "tokens_per_second": times}


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
