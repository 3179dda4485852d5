"""Memory, silence and time of a run with many unlabeled inputs.

    python benchmarks/many_inputs.py --inputs 200000 --out /tmp/many

The networks are tiny and untrained, so that what remains is the cost of handling the inputs: reading, checking,
drawing, tokenizing, storing texts, caching log-probabilities, planning. By piece of work, prints the peak memory of the
process, the longest time without a report of progress, and the rate after one second and at the end.
"""

import argparse
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from understudy import check_recipe, run
from understudy.progress import NO_VALUES, NoProgress, ProgressCallback, Values

SIZES = {"width": 8, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 8}
MB = 1e6


def write_files(folder: Path, inputs: int) -> dict[str, str]:
    """A task: 300 labeled inputs, 50 each of dev and test, and the unlabeled ones, of about 30 words.

    There are so few words that the tokenizer learns them whole, as it does with those of a real task.
    """
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(400)]
    paths = {split: folder / f"{split}.jsonl" for split in ("labeled", "dev", "test", "unlabeled")}
    for (split, path), count in zip(paths.items(), (300, 50, 50, inputs), strict=True):
        with path.open("w", encoding="utf-8") as file:
            for index in range(count):
                row = {"source": f"{split} {index} {' '.join(rng.choices(words, k=rng.randint(20, 36)))}"}
                if split != "unlabeled":
                    row["target"] = " ".join(rng.choices(words, k=2))
                file.write(json.dumps(row) + "\n")
    return {split: str(path) for split, path in paths.items()}


class Watch(NoProgress):
    """A progress that measures memory, silence, and rates."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.last = time.monotonic()
        self.title = self.piece = "start"
        self.seen: Counter[str] = Counter()
        self.peaks: dict[str, float] = {}
        self.silences: dict[str, float] = {}
        self.rates: dict[str, tuple[float, float]] = {}
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while True:
            used = self.process.memory_info().rss
            self.peaks[self.title] = max(self.peaks.get(self.title, 0.0), used)
            time.sleep(0.1)

    def _report(self) -> None:
        now = time.monotonic()
        self.silences[self.title] = max(self.silences.get(self.title, 0.0), now - self.last)
        self.last = now

    def _named(self, piece: str) -> str:
        """The piece of work, with a number if it is done again after another one."""
        if piece != self.piece:
            self.seen[piece] += 1
        self.piece = piece
        return f"{piece} ({self.seen[piece]})" if self.seen[piece] > 1 else piece

    @contextmanager
    def track(self, title: str, total: float | None, unit: str) -> Iterator[ProgressCallback]:  # noqa: ARG002 - a Progress
        """Measures one piece of work."""
        self._report()
        self.title = self._named("".join(letter for letter in title if not letter.isdigit()))
        started, done, first = time.monotonic(), 0.0, 0.0

        def advance(amount: float, note: str = "", values: Values = NO_VALUES) -> None:  # noqa: ARG001 - not measured
            nonlocal done, first
            self._report()
            done += amount
            if not first and time.monotonic() - started > 1 and done:
                first = done / (time.monotonic() - started)

        yield advance
        self._report()
        if first:
            self.rates[self.title] = first, done / (time.monotonic() - started)
        self.title = f"after {self.title}"

    def log(self, message: str) -> None:
        """Prints the line."""
        self._report()
        print(f"  {message}", flush=True)

    def show(self) -> None:
        """Prints a line for each piece of work."""
        print("by piece of work: peak memory, longest silence")
        for title, peak in self.peaks.items():
            first, last = self.rates.get(title, (0.0, 0.0))
            rate = f", first rate {first:.3g}/s, final {last:.3g}/s" if first else ""
            print(f"  {peak / MB:7.0f} MB {self.silences.get(title, 0.0):7.1f} s  {title}{rate}")


def recipe_of(files: dict[str, str]) -> dict[str, object]:
    """A distillation with a pseudo-target of every input and cached log-probabilities."""
    training = {"epochs": 1, "batch_tokens": 16_000, "warmup_steps": 0}
    evaluation = {"decoding": {"kind": "greedy"}, "resamples": 20, "latency_inputs": 1, "batch_inputs": 1, "repeats": 1}
    return {
        "name": "many",
        "precision": "float32",
        "task": {
            "files": files,
            "max_source_tokens": 512,
            "max_target_tokens": 12,
            "long_sources": "drop",
            "metrics": ["chrf"],
            "primary_metric": "chrf",
        },
        "teacher": {"scratch": SIZES, "vocab_size": 2000, "finetune": training},
        "student": {"scratch": SIZES, "finetune": training},
        "pseudo_targets": {"inputs": ["labeled", "unlabeled"], "per_input": 1, "shard_inputs": 4096},
        "distil": {"method": "logits_pt", "teacher_logprobs": {"kind": "sparse", "top": 8}},
        "training": training,
        "evaluation": evaluation,
    }


def main() -> None:
    """Runs the recipe and prints what was measured."""
    parser = argparse.ArgumentParser(description="Memory and silence of a run with many inputs.")
    parser.add_argument("--inputs", type=int, default=200_000)
    parser.add_argument("--out", type=Path, required=True)
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    recipe = check_recipe(recipe_of(write_files(wanted.out, wanted.inputs)))
    started, watch = time.monotonic(), Watch()
    try:
        run(recipe, out=wanted.out / "runs", progress=watch)
    finally:
        print(f"{wanted.inputs} inputs, {time.monotonic() - started:.0f} s")
        watch.show()


if __name__ == "__main__":
    main()
