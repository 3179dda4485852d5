r"""How many texts per second language models give in CTranslate2, in float32 and int8, and in transformers.

All systems generate for the same sources of a file on the same threads, in turn, several times. Rates are texts per
second of wall clock and tokens per second of CPU time; ratios to the first system are computed pass by pass from the
tokens, since systems end their texts at different lengths, and medians are reported. With `--decoding greedy` and
`--at-once 1` the time of a text is its latency. Without systems nothing is measured.

    python benchmarks/language_model_generation.py --sources train.jsonl.gz --per-input 4 --model FOLDER
    python benchmarks/language_model_generation.py --sources test.jsonl.gz --decoding greedy \
        --system teacher=FOLDER,hf,float32 --system student=FOLDER,ctranslate2,float32

A checkpoint is read with the tokenizer in its folder, so a trimmed one needs slightly more tokens for the same text.
"""

import argparse
import gzip
import json
import time
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

from understudy.config.decoding import Decoding, Greedy, Sampling
from understudy.generation import Engine, open_engine
from understudy.models.task_tokenizer import TextLimits, checkpoint_task_tokenizer, choose_source_format
from understudy.records import Example

ENGINES = {
    "transformers": ("hf", "float32"),
    "ctranslate2": ("ctranslate2", "float32"),
    "ctranslate2 int8": ("ctranslate2", "int8"),
}
"""Name -> engine and type of the weights, of the systems that `--model` stands for."""
DECODINGS: dict[str, Decoding] = {"sampling": Sampling(), "greedy": Greedy()}


class System(NamedTuple):
    """A checkpoint in an engine."""

    name: str
    model: Path
    engine: str
    dtype: str


class Opened(NamedTuple):
    """A system that can generate."""

    system: System
    engine: Engine
    rows: list[list[int]]
    """The sources, as its tokenizer encodes them."""


class Pass(NamedTuple):
    """One pass of one system over all sources."""

    wall: float
    cpu: float
    texts: int
    tokens: int


def read_sources(file: Path, count: int) -> list[str]:
    """The `source` of the first lines of a JSON Lines file, which may be compressed."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["source"] for line in islice(lines, count)]


def encoded(model: Path, texts: list[str], max_tokens: int) -> list[list[int]]:
    """The sources as the checkpoint's tokenizer encodes them."""
    source_format = choose_source_format(str(model), "auto", trained=False)
    limits = TextLimits("{source}", max_source_tokens=10**6, max_target_tokens=max_tokens)
    tokenizer = checkpoint_task_tokenizer(limits, str(model), source_format)
    return tokenizer.encode_sources([Example(str(number), text) for number, text in enumerate(texts)])


def timed(opened: Opened, arguments: argparse.Namespace, seed: int) -> Pass:
    """Generates once for all sources, `at_once` of them at a time."""
    rows, step = opened.rows, arguments.at_once or len(opened.rows)
    wall, cpu = time.perf_counter(), time.process_time()
    made = [
        texts
        for start in range(0, len(rows), step)
        for texts in opened.engine.generate(
            rows[start : start + step],
            DECODINGS[arguments.decoding],
            per_source=arguments.per_input,
            max_tokens=arguments.max_tokens,
            seed=seed,
        )
    ]
    lengths = [len(text.token_ids) for texts in made for text in texts]
    return Pass(time.perf_counter() - wall, time.process_time() - cpu, len(lengths), sum(lengths))


def show(passes: dict[str, list[Pass]]) -> None:
    """Prints a line per system: medians, and the median ratio of tokens per CPU second to the first system's."""
    first = next(iter(passes.values()))
    for name, own in passes.items():
        ratio = median((one.tokens / one.cpu) / (base.tokens / base.cpu) for one, base in zip(own, first, strict=True))
        print(
            f"{name:<24} {median(p.texts / p.wall for p in own):8.2f} texts/s  "
            f"{median(1000 * p.wall / p.texts for p in own):8.1f} ms/text  "
            f"{median(p.tokens / p.texts for p in own):5.1f} tokens/text  "
            f"{median(p.tokens / p.cpu for p in own):8.1f} tokens/CPU-s  {ratio:5.1f} x"
        )


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a checkpoint, in three engines")
    parser.add_argument("--system", action="append", default=[], metavar="NAME=FOLDER,ENGINE,DTYPE")
    parser.add_argument("--sources", type=Path, help="JSON Lines with a field `source`, .gz or not")
    parser.add_argument("--inputs", type=int, default=16, help="lines of the file that are read")
    parser.add_argument("--per-input", type=int, default=1)
    parser.add_argument("--at-once", type=int, help="sources per call; all by default")
    parser.add_argument("--decoding", choices=DECODINGS, default="sampling")
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workspace", type=Path, default=Path("runs/benchmark"), help="folder of the conversions")
    arguments = parser.parse_args()
    arguments.systems = [System(name, arguments.model, *own) for name, own in ENGINES.items() if arguments.model]
    for given in arguments.system:
        name, _, place = given.partition("=")
        folder, engine, dtype = place.rsplit(",", 2)
        arguments.systems.append(System(name, Path(folder), engine, dtype))
    if not (arguments.systems and arguments.sources):
        parser.print_usage()
    return arguments


def main() -> None:
    """Prints the table."""
    arguments = read_arguments()
    if not (arguments.systems and arguments.sources):
        return
    torch.set_num_threads(arguments.threads)
    texts = read_sources(arguments.sources, arguments.inputs)
    passes: dict[str, list[Pass]] = {system.name: [] for system in arguments.systems}
    with ExitStack() as stack:
        opened = [
            Opened(
                system,
                stack.enter_context(
                    open_engine(
                        system.engine,
                        system.model,
                        workspace=arguments.workspace / str(system.model.resolve()).strip("/").replace("/", "-"),
                        dtype=system.dtype,
                        threads=arguments.threads,
                    )
                ),
                encoded(system.model, texts, arguments.max_tokens),
            )
            for system in arguments.systems
        ]
        print(f"{len(texts)} inputs x {arguments.per_input} texts of at most {arguments.max_tokens} tokens, "
              f"{arguments.decoding}, {arguments.at_once or len(texts)} inputs at once, {arguments.threads} threads, "
              f"medians of {arguments.passes}")  # fmt: skip
        for number in range(arguments.passes):
            for one in opened:
                passes[one.system.name].append(timed(one, arguments, number))
    show(passes)


if __name__ == "__main__":
    main()
