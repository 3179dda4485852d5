"""Memory and time of the loss and its gradient, from hidden states on, beside other implementations.

    python benchmarks/loss_memory.py --vocabularies 32128 262144 --positions 1024 4096 --repeats 5

Each memory is measured in a process of its own: the growth of its resident set, at its peak, over that before the
loss, so weights and hidden states are not in it. Times are interleaved: each repeat runs every variant once, and the
table has the medians of their ratios to `kl_div`. Each gradient of the head is compared with that of
the first variant (the loss on cached log-probabilities is another one).
Linux only. Liger Kernel and TRL are measured where they are installed (`pip install --no-deps liger-kernel trl`).
Axes: N target positions, H hidden width, V vocabulary, K kept tokens.
"""

import argparse
import ctypes
import gc
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from understudy.models.projection import Projection
from understudy.objectives.divergences import forward_kl
from understudy.objectives.sparse import bucketed
from understudy.training.chunked_loss import CHUNK_LOGITS, MIN_CHUNK, LossOfRows, chunked_loss

KEPT = 64
MIB = 2**20


@dataclass(frozen=True)
class Case:
    """Hidden states of student and teacher, their heads, and the teacher's kept tokens; all random."""

    student_NH: Tensor
    teacher_NH: Tensor
    head: nn.Linear
    teacher_head: nn.Linear
    ids_NK: Tensor
    logp_NK: Tensor

    @classmethod
    def of(cls, positions: int, vocabulary: int, width: int) -> "Case":
        """The same numbers for the same sizes."""
        torch.manual_seed(0)
        heads = nn.Linear(width, vocabulary, bias=False), nn.Linear(width, vocabulary, bias=False)
        for head in heads:
            nn.init.normal_(head.weight, std=0.05)
        student_NH = torch.randn(positions, width, requires_grad=True)
        ids_NK = torch.rand(positions, 1024).topk(KEPT).indices * (vocabulary // 1024)
        logp_NK = torch.randn(positions, KEPT).log_softmax(-1) - 0.1
        teacher_head = heads[1].requires_grad_(requires_grad=False)
        return cls(student_NH, torch.randn(positions, width), heads[0], teacher_head, ids_NK, logp_NK)

    def first(self, positions: int) -> "Case":
        """The first positions of it, with the same heads."""
        student_NH, teacher_NH, ids_NK, logp_NK = (
            each[:positions] for each in (self.student_NH, self.teacher_NH, self.ids_NK, self.logp_NK)
        )
        return Case(student_NH, teacher_NH, self.head, self.teacher_head, ids_NK, logp_NK)

    def clear(self) -> None:
        """Deletes the gradients."""
        self.student_NH.grad = self.head.weight.grad = None


def teacher_logits(case: Case) -> Tensor:
    """Of all positions."""
    with torch.no_grad():
        logits_NV: Tensor = case.teacher_head(case.teacher_NH)
    return logits_NV


def kl_div(case: Case) -> Tensor:
    """The loss as torch has it."""
    teacher_NV = F.log_softmax(teacher_logits(case), -1)
    return F.kl_div(F.log_softmax(case.head(case.student_NH), -1), teacher_NV, log_target=True, reduction="sum")


def whole(case: Case) -> Tensor:
    """The objective on the logits of all positions."""
    return forward_kl(case.head(case.student_NH), teacher_logits(case))


def understudy(case: Case) -> Tensor:
    """The objective in chunks."""
    teacher = Projection(case.teacher_NH, case.teacher_head, torch.float32)

    def of_chunk(chunk: slice) -> LossOfRows:
        teacher_CV = teacher.logits(chunk)
        return lambda logits_RV, rows: forward_kl(logits_RV, teacher_CV[rows])

    return chunked_loss(Projection(case.student_NH, case.head, torch.float32), of_chunk)


def recomputed(case: Case) -> Tensor:
    """The same chunks, whose logits are computed again in the backward pass instead of with the loss."""

    def of_chunk(student_CH: Tensor, teacher_CH: Tensor) -> Tensor:
        with torch.no_grad():
            teacher_CV = case.teacher_head(teacher_CH)
        return forward_kl(case.head(student_CH), teacher_CV)

    size = max(MIN_CHUNK, CHUNK_LOGITS // case.head.out_features)
    total = torch.zeros(())
    for start in range(0, len(case.student_NH), size):
        states = case.student_NH[start : start + size], case.teacher_NH[start : start + size]
        total = total + checkpoint(of_chunk, *states, use_reentrant=False)
    return total


def liger(case: Case) -> Tensor:
    """Liger Kernel's fused loss, whose beta of 0 is forward KL, in chunks of 128 positions."""
    function = import_module("liger_kernel.chunked_loss.jsd_loss").LigerFusedLinearJSDFunction

    labels_N = torch.zeros(len(case.student_NH), dtype=torch.long)
    settings = (None, None, 0.0, 1.0, 0.0, -100, 1.0, False, 128)  # no bias, beta, soft and hard weight, ..., chunk
    states = case.student_NH, case.head.weight, case.teacher_NH, case.teacher_head.weight
    mean: Tensor = function.apply(*states, labels_N, *settings)
    return mean * len(labels_N)


def trl(case: Case) -> Tensor:
    """TRL's chunked divergence, whose beta of 0 is forward KL."""
    function = import_module("trl.kernels.chunked_divergence").ChunkedDivergenceFunction

    student, teacher = (case.student_NH, case.head.weight, None), (case.teacher_NH, case.teacher_head.weight, None)
    divergence_N: Tensor = function.apply(*student, *teacher, 0.0)[0]
    return divergence_N.sum()


def whole_cached(case: Case) -> Tensor:
    """The objective on cached log-probabilities and the logits of all positions."""
    return forward_kl(*bucketed(case.head(case.student_NH), case.ids_NK, case.logp_NK))


def understudy_cached(case: Case) -> Tensor:
    """The same in chunks."""

    def of_chunk(chunk: slice) -> LossOfRows:
        ids_CK, logp_CK = case.ids_NK[chunk], case.logp_NK[chunk]
        return lambda logits_RV, rows: forward_kl(*bucketed(logits_RV, ids_CK[rows], logp_CK[rows]))

    return chunked_loss(Projection(case.student_NH, case.head, torch.float32), of_chunk)


VARIANTS: dict[str, Callable[[Case], Tensor]] = {
    "kl_div": kl_div,
    "whole": whole,
    "understudy": understudy,
    "recomputed": recomputed,
    "liger": liger,
    "trl": trl,
    "whole_cached": whole_cached,
    "understudy_cached": understudy_cached,
}


def installed() -> list[str]:
    """The variants whose library is there."""
    missing = {name for name, library in (("liger", "liger_kernel"), ("trl", "trl")) if find_spec(library) is None}
    return [variant for variant in VARIANTS if variant not in missing]


def backward(loss: Tensor, positions: int) -> None:
    """As the training loop calls it."""
    (loss / positions).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it


def status(name: str) -> int:
    """A size of this process from the kernel, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def measure_memory(variant: str, positions: int, vocabulary: int, width: int) -> float:
    """Growth of the resident set by the loss and its backward pass, in MiB, with the gradients."""
    case = Case.of(positions, vocabulary, width)
    backward(VARIANTS[variant](case.first(2)), 2)  # what libraries allocate once
    case.clear()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts from here
    before = status("VmRSS")
    backward(VARIANTS[variant](case), positions)
    return (status("VmHWM") - before) / MIB


def measure_times(variants: Sequence[str], positions: int, vocabulary: int, width: int, repeats: int) -> None:
    """Prints the median time of each variant in seconds, its ratio to the first, and the difference of gradients."""
    case = Case.of(positions, vocabulary, width)
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    first, errors = torch.empty(0), dict.fromkeys(variants, 0.0)
    for repeat in range(repeats):
        for variant in variants:
            case.clear()
            started = time.perf_counter()
            backward(VARIANTS[variant](case), positions)
            seconds[variant].append(time.perf_counter() - started)
            gradient = case.head.weight.grad
            if repeat == 0 and gradient is not None and variant == variants[0]:
                first = gradient
            elif repeat == 0 and gradient is not None:
                errors[variant] = float((gradient - first).norm() / first.norm())
    for variant in variants:
        ratio = median(own / base for own, base in zip(seconds[variant], seconds[variants[0]], strict=True))
        print(f"time   {vocabulary:7} {positions:5} {variant:18} {median(seconds[variant]):8.2f} s {ratio:5.2f} x "
              f"gradient {errors[variant]:.1e}", flush=True)  # fmt: skip


def memory_in_its_own_process(variant: str, sizes: Sequence[int]) -> None:
    """Prints the peak of one variant beyond the head's gradient, which every variant has."""
    positions, vocabulary, width, threads = map(str, sizes)
    command = [sys.executable, __file__, "--one", "--variants", variant, "--threads", threads, "--width", width]
    command += ["--vocabularies", vocabulary, "--positions", positions]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - this file
    head = sizes[1] * sizes[2] * 4 / MIB
    found = f"{float(done.stdout) - head:8.0f} MiB, and {head:.0f} of gradient" if done.returncode == 0 else "failed"
    print(f"memory {vocabulary:>7} {positions:>5} {variant:18} {found}", flush=True)


def main() -> None:
    """Prints one line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[32_128])
    parser.add_argument("--positions", type=int, nargs="+", default=[1024])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=installed())
    parser.add_argument("--repeats", type=int, default=3, help="of the times; 0 measures memory only")
    parser.add_argument("--times-only", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", action="store_true", help="the memory of one variant, in this process")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for vocabulary, positions in product(args.vocabularies, args.positions):
        if args.one:
            print(measure_memory(args.variants[0], positions, vocabulary, args.width))
            return
        for variant in () if args.times_only else args.variants:
            memory_in_its_own_process(variant, (positions, vocabulary, args.width, args.threads))
        if args.repeats:
            measure_times(args.variants, positions, vocabulary, args.width, args.repeats)


if __name__ == "__main__":
    main()
