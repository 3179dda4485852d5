"""How many pseudo-targets per second a language model gives in CTranslate2, in float32 and int8, and in transformers.

All engines sample for the same sources of a file on the same threads, in turn, several times. Rates are texts per
second of wall clock and of CPU time; the ratio is computed pass by pass, and medians are reported. Without `--model`
nothing is measured.

    python benchmarks/language_model_generation.py --model FOLDER --sources train.jsonl.gz --per-input 4
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

from understudy.config.decoding import Sampling
from understudy.generation import Engine, open_engine
from understudy.models.task_tokenizer import TextLimits, checkpoint_task_tokenizer, choose_source_format
from understudy.records import Example

SYSTEMS = {
    "transformers": ("hf", "float32"),
    "ctranslate2": ("ctranslate2", "float32"),
    "ctranslate2 int8": ("ctranslate2", "int8"),
}
"""Name -> engine and type of the weights; the first is what the others are compared with."""


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


def timed(engine: Engine, sources: list[list[int]], *, per_input: int, max_tokens: int, seed: int) -> Pass:
    """Samples once for all sources; temperature and truncation are those of a recipe that names none."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = engine.generate(sources, Sampling(), per_source=per_input, max_tokens=max_tokens, seed=seed)
    lengths = [len(text.token_ids) for texts in made for text in texts]
    return Pass(time.perf_counter() - wall, time.process_time() - cpu, len(lengths), sum(lengths))


def show(passes: dict[str, list[Pass]]) -> None:
    """Prints a line per system: medians, and the median ratio of CPU time to the first system of the same pass."""
    first = next(iter(passes.values()))
    for name, own in passes.items():
        ratio = median((one.texts / one.cpu) / (base.texts / base.cpu) for one, base in zip(own, first, strict=True))
        print(
            f"{name:<18} {median(p.texts / p.wall for p in own):7.2f} texts/s   "
            f"{median(p.texts / p.cpu for p in own):7.2f} texts/CPU-s   "
            f"{median(p.tokens / p.cpu for p in own):8.1f} tokens/CPU-s   {ratio:5.1f} x"
        )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a checkpoint")
    parser.add_argument("--sources", type=Path, help="JSON Lines with a field `source`, .gz or not")
    parser.add_argument("--inputs", type=int, default=16, help="lines of the file that are read")
    parser.add_argument("--per-input", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workspace", type=Path, default=Path("runs/benchmark"), help="folder of the conversion")
    arguments = parser.parse_args()
    if not (arguments.model and arguments.sources):
        parser.print_usage()
        return
    source_format = choose_source_format(str(arguments.model), "auto", trained=False)
    limits = TextLimits("{source}", max_source_tokens=10**6, max_target_tokens=arguments.max_tokens)
    tokenizer = checkpoint_task_tokenizer(limits, str(arguments.model), source_format)
    texts = read_sources(arguments.sources, arguments.inputs)
    sources = tokenizer.encode_sources([Example(str(number), text) for number, text in enumerate(texts)])
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.model}: {len(sources)} inputs x {arguments.per_input} samples of at most "
          f"{arguments.max_tokens} tokens, {arguments.threads} threads, medians of {arguments.passes}")  # fmt: skip
    passes: dict[str, list[Pass]] = {name: [] for name in SYSTEMS}
    workspace = arguments.workspace / arguments.model.resolve().name
    with ExitStack() as stack:
        engines = {
            name: stack.enter_context(
                open_engine(
                    engine, arguments.model, workspace=workspace, dtype=dtype, threads=arguments.threads
                )
            )
            for name, (engine, dtype) in SYSTEMS.items()
        }  # fmt: skip
        for number in range(arguments.passes):
            for name, engine in engines.items():
                passes[name].append(
                    timed(
                        engine,
                        sources,
                        per_input=arguments.per_input,
                        max_tokens=arguments.max_tokens,
                        seed=number,
                    )
                )
    show(passes)


if __name__ == "__main__":
    main()
