r"""What the cache of teacher log-probabilities costs and loses at several truncations, against the whole loss.

    python benchmarks/logprob_bytes.py
    python benchmarks/logprob_bytes.py --teacher runs/demo/teacher/network --student runs/demo/student \\
        --texts dev.jsonl --prompt "describe: {source}"

Without networks: distributions drawn at random, from which the table of docs/methods.md and of config/truncation.py is.
With them: the texts' targets (JSONL with source and target), read by teacher and student. Printed per truncation: bytes
per position, kept tokens, kept mass, the lost divergence in nats, and for each objective the error of the gradient with
respect to the student's logits, ‖g' - g‖ / ‖g‖ over all positions in percent.
Axes: N positions, V vocabulary, K kept tokens.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from understudy.models.checkpoint import load_network
from understudy.models.forward import target_logits
from understudy.models.task_tokenizer import TaskTokenizer, TextLimits, checkpoint_task_tokenizer
from understudy.objectives import divergences as d
from understudy.objectives.sparse import bucketed
from understudy.objectives.truncation import lost_divergence, truncated
from understudy.pool.logprob_cache import count_type
from understudy.pool.logprob_rows import pack_rows, row_format
from understudy.pool.token_arrays import TokenArrays
from understudy.records import Example
from understudy.training.batches import collate
from understudy.training.items import GENERATORS, TrainItem

TRUNCATIONS = ((2, 1.0), (4, 1.0), (8, 1.0), (14, 0.99), (32, 1.0), (64, 1.0), (256, 1.0), (1024, 1.0))
OBJECTIVES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "forward_kl": d.forward_kl,
    "reverse_kl": d.reverse_kl,
    "tvd": d.tvd,
    **{f"jsd, beta {beta}": partial(d.jsd, beta=beta) for beta in (0.1, 0.3, 0.5, 0.7, 0.9)},
    **{f"skew_kl, alpha {alpha}": partial(d.skew_kl, alpha=alpha) for alpha in (0.1, 0.3, 0.5, 0.7, 0.9)},
    **{f"skew_reverse_kl, alpha {a}": partial(d.skew_reverse_kl, alpha=a) for a in (0.01, 0.1, 0.3, 0.5, 0.9)},
    **{f"taid, t {t}": partial(d.taid, t=t) for t in (0.1, 0.2, 0.4, 0.6, 0.8)},
    **{f"temperature {t}": partial(d.forward_kl, temperature=t) for t in (0.5, 0.8, 0.9, 1.1, 1.2, 1.5, 2.0, 4.0)},
}
PARTS = 2

Part = tuple[Tensor, Tensor]
"""Logits of student and teacher, both NV."""


def synthetic(vocabulary: int, positions: int, *, agreement: float, seed: int) -> Part:
    """Student's and teacher's logits at random positions.

        teacher = -log rank(v) + s · x(v),  student = -log rank(v) + agreement · s · x(v) + y(v)

    x and y are standard normal, the sharpness s is uniform in [3, 11] per position: some tokens are all but certain,
    others open, with Zipf's law among what is possible. On 2,000 tokens the entropy is 1.3 nats and 64 tokens hold 99 %
    of the mass, as for a teacher fine-tuned on E2E.
    """
    generator = torch.Generator().manual_seed(seed)
    prior_V = -torch.arange(1, vocabulary + 1).log()
    content_NV = torch.randn(positions, vocabulary, generator=generator)
    content_NV *= torch.empty(positions, 1).uniform_(3, 11, generator=generator)
    noise_NV = torch.randn(positions, vocabulary, generator=generator)
    return prior_V + agreement * content_NV + noise_NV, prior_V + content_NV


def gradient(
    objective: Callable[[Tensor, Tensor], Tensor], part: Part, kept: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Of the objective with respect to the student's logits, on the kept tokens or on all, NV."""
    student_NV = part[0].clone().requires_grad_()
    pair = bucketed(student_NV, *kept) if kept else (student_NV, part[1])
    return torch.autograd.grad(objective(*pair), student_NV)[0]


def gradient_errors(parts: list[Part], truncations: Sequence[tuple[int, float]], name: str) -> list[float]:
    """The error of an objective's gradient over all parts at each truncation, as a share of its norm."""
    wrong, norm = [0.0] * len(truncations), 0.0
    for part in parts:
        exact_NV = gradient(OBJECTIVES[name], part)
        norm += float(exact_NV.square().sum())
        for place, truncation in enumerate(truncations):
            ids_NK, logp_NK = truncated(part[1], *truncation)
            # In half precision, as they are cached.
            found_NV = gradient(OBJECTIVES[name], part, (ids_NK, logp_NK.half().float()))
            wrong[place] += float((found_NV - exact_NV).square().sum())
    return [(one / norm) ** 0.5 for one in wrong]


def costs(parts: list[Part], truncation: tuple[int, float]) -> tuple[float, float, float, float]:
    """Bytes and tokens per position, kept mass, lost divergence in nats; means over all positions."""
    vocabulary = parts[0][1].shape[1]
    found = []
    for _, teacher_NV in parts:
        ids_NK, logp_NK = truncated(teacher_NV, *truncation)
        rows, counts = pack_rows(ids_NK.numpy(), logp_NK.half().numpy(), row_format(vocabulary, np.float16))
        lost = float(lost_divergence(teacher_NV, ids_NK, logp_NK).sum())
        count_bytes = len(counts) * count_type(truncation[0]).itemsize
        found.append((len(rows) + count_bytes, counts.sum(), float(logp_NK.exp().sum()), lost))
    total, kept, mass, lost = np.sum(found, axis=0) / sum(len(part[0]) for part in parts)
    return total, kept, mass, lost


def show(title: str, parts: list[Part], names: list[str]) -> None:
    """Prints the table of some distributions."""
    positions = sum(len(part[0]) for part in parts)
    gap = sum(float(d.forward_kl(*part)) for part in parts) / positions
    print(f"\n{title}: {positions} positions, {parts[0][0].shape[1]} tokens, forward KL {gap:.2f} nats")
    heads = [f"{top}, {top_p:g}" for top, top_p in TRUNCATIONS]
    print(f"{'top, top_p':28}" + "".join(f"{head:>10}" for head in heads))
    measured = [costs(parts, truncation) for truncation in TRUNCATIONS]
    for row, name in enumerate(("bytes per position", "kept tokens", "kept mass", "lost divergence, nats")):
        print(f"{name:28}" + "".join(f"{values[row]:10.4f}" for values in measured))
    for name in names:
        errors = gradient_errors(parts, TRUNCATIONS, name)
        print(f"{name:28}" + "".join(f"{100 * error:9.1f}%" for error in errors), flush=True)


def read(arguments: argparse.Namespace) -> Iterator[Part]:
    """The logits of both networks at the targets of the texts."""
    lines = [json.loads(line) for line in arguments.texts.read_text().splitlines()[: arguments.count]]
    examples = [Example(str(n), line["source"], (line["target"],)) for n, line in enumerate(lines)]
    limits = TextLimits(arguments.prompt, max_source_tokens=512, max_target_tokens=512)
    folders = arguments.student, arguments.teacher
    tokenizers = [checkpoint_task_tokenizer(limits, str(folder)) for folder in folders]
    networks = [load_network(str(folder)).eval() for folder in folders]
    vocabulary, encoded = len(tokenizers[1].tokenizer), [_encoded(tokenizer, examples) for tokenizer in tokenizers]
    for source in range(len(examples)):
        pair = []
        for (sources, texts), network, tokenizer in zip(encoded, networks, tokenizers, strict=True):
            item = TrainItem(source, "gold", (source,))
            batch = collate([item], sources, dict.fromkeys(GENERATORS, texts), pad=tokenizer.pad_id)
            with torch.no_grad():
                pair.append(target_logits(network, **batch.inputs(torch.device("cpu"))).float()[:, :vocabulary])
        yield pair[0], pair[1]


def _encoded(tokenizer: TaskTokenizer, examples: list[Example]) -> tuple[TokenArrays, TokenArrays]:
    targets = tokenizer.encode_targets([one.targets[0] for one in examples])
    return TokenArrays.of(tokenizer.encode_sources(examples)), TokenArrays.of(targets)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--teacher", "--student", "--texts"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--prompt", default="{source}", help="as in the recipe")
    parser.add_argument("--count", type=int, default=200, help="texts that are read")
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES), metavar="NAME")
    arguments = parser.parse_args()
    if arguments.teacher and arguments.student and arguments.texts:
        show(f"{arguments.teacher}", list(read(arguments)), arguments.objectives)
        return
    for vocabulary, positions in ((2000, 400), (32_000, 200)):
        for title, agreement in {"a student after training": 0.8, "a student at the start": 0.3}.items():
            parts = [synthetic(vocabulary, positions, agreement=agreement, seed=seed) for seed in range(PARTS)]
            show(title, parts, arguments.objectives)


if __name__ == "__main__":
    main()
