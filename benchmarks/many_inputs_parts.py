"""Memory and processor time of the parts of a run that grow with its inputs, each in a process of its own.

    python benchmarks/many_inputs_parts.py --inputs 50000 200000 1000000 --out /tmp/parts

  data          read, check, draw and write the splits
  tokenization  a tokenizer from scratch, the examples that fit its limits
  pool          a text of each input, stored in shards, and their index. A stub takes the place of the teacher: it gives
                each input the same five tokens, so that what is measured is the handling of inputs and texts
  cache         the log-probabilities of all texts under a network of width 8 that is not trained further
  mixture       everything that a student's training loads, and the plan of an epoch; nothing is trained

Prints, per part: the processor time per input, its ratio to that of the smallest number of inputs, and the peak memory
of the process, pages of mapped files included. Time to import libraries and to look up earlier stages is not counted.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from many_inputs import recipe_of, write_files  # type: ignore[import-not-found]  # the script in this folder

from understudy import check_recipe
from understudy.config.decoding import PoolDecoding
from understudy.config.recipe import Recipe
from understudy.executors._memory import return_freed_memory
from understudy.executors.local import Local
from understudy.pipeline.build import RunStages, build_run
from understudy.pipeline.context import run_context
from understudy.pipeline.prepare import data_stage
from understudy.pipeline.stages.pseudo_targets import PseudoTargetsStage
from understudy.pipeline.stages.student import StudentStage
from understudy.progress import NoProgress, ProgressCallback
from understudy.records import Generated
from understudy.store import Stage
from understudy.training.batches import plan_batches
from understudy.training.mixture import plan_round

MB = 1e6
TOKENS = (40, 41, 42, 43)
"""Of each text, before its end."""


class StubEngine:
    """In place of the teacher: gives each source the same text."""

    name = "stub"

    def __init__(self, eos_id: int) -> None:
        self.text = Generated((*TOKENS, eos_id), -5.0)

    def generate(
        self,
        sources: Sequence[Sequence[int]],
        decoding: PoolDecoding,  # noqa: ARG002
        *,
        per_source: int = 1,
        max_tokens: int,  # noqa: ARG002
        seed: int | None = 0,  # noqa: ARG002
        stop_ids: Collection[int] = (),  # noqa: ARG002
        progress: ProgressCallback | None = None,  # noqa: ARG002
    ) -> list[tuple[Generated, ...]]:
        """The text for each source."""
        return [(self.text,) * per_source for _ in sources]

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[list[float]]:
        """Is not asked for."""
        raise NotImplementedError


@dataclass(frozen=True)
class Run:
    """A recipe and where its stages lie."""

    recipe: Recipe
    out: Path

    @cached_property
    def context(self) -> Any:  # noqa: ANN401 - a context of the pipeline
        """One store for all parts."""
        return run_context(self.out / "runs", NoProgress())

    def stages(self) -> RunStages:
        """The stages of the run; makes data, tokenizer and examples where they are missing."""
        return build_run(self.recipe, self.context)

    def make(self, *stages: Stage[Any]) -> None:
        """Makes stages in this process."""
        for stage in stages:
            self.context.store.get(stage, Local(), self.context)


Work = Callable[[], None]


def data(run: Run) -> Work:
    """The splits."""
    return lambda: run.make(data_stage(run.recipe))


def tokenization(run: Run) -> Work:
    """What is made before a run's keys are known."""

    def prepare() -> None:
        run.stages()

    return prepare


def networks(run: Run) -> Work:
    """The teacher, which is trained on 300 inputs; not reported."""
    stages = run.stages()
    pool = stages.scores.pool
    assert isinstance(pool, PseudoTargetsStage)
    return lambda: run.make(pool.teacher)


def pool(run: Run) -> Work:
    """The pseudo-targets of the stub."""
    stage = run.stages().scores.pool
    assert isinstance(stage, PseudoTargetsStage)

    @contextmanager
    def stub() -> Iterator[StubEngine]:
        yield StubEngine(eos_id=1)

    key = f"{stage.teacher.key} on {stage.device} in {stage.compute_type}"
    run.context.reuse(key, stub)
    return lambda: run.make(stage)


def cache(run: Run) -> Work:
    """The log-probabilities of the pool and of gold."""
    student = run.stages().systems.student
    assert isinstance(student, StudentStage)
    return lambda: run.make(*(stage for _, stage in student.logprobs))


def mixture(run: Run) -> Work:
    """All that a training loads, and the batches of its epoch."""
    student = run.stages().systems.student
    assert isinstance(student, StudentStage)

    def plan() -> None:
        folder = run.out / "student"
        folder.mkdir(exist_ok=True)
        job = student.training(folder, run.context)
        items = plan_round(job.mixture, number=0, seed=1)
        texts = {name: targets.texts for name, targets in job.mixture.targets.items()}
        batches = plan_batches(items, job.mixture.sources, texts, batch_tokens=16_000, seed=(1, 0))
        assert sum(map(len, batches)) == len(items)

    return plan


PARTS = {
    "data": data,
    "tokenization": tokenization,
    "networks": networks,
    "pool": pool,
    "cache": cache,
    "mixture": mixture,
}


def peak_mb() -> float:
    """The peak memory of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(kibibytes) / MB


def measure(part: str, inputs: int, out: Path) -> None:
    """Makes one part in this process and prints what it cost."""
    return_freed_memory()
    files = {split: str(out / f"{split}.jsonl") for split in ("labeled", "dev", "test", "unlabeled")}
    work = PARTS[part](Run(check_recipe(recipe_of(files)), out))
    before, started = peak_mb(), time.process_time()
    work()
    used = time.process_time() - started
    print(json.dumps({"part": part, "inputs": inputs, "cpu_s": used, "start_mb": before, "peak_mb": peak_mb()}))


def ladder(rungs: Sequence[int], out: Path, parts: Collection[str]) -> Iterator[dict[str, Any]]:
    """Runs the parts for each number of inputs, each in a new process."""
    for inputs in rungs:
        folder = out / str(inputs)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_files(folder, inputs)
        for part in PARTS:
            command = [sys.executable, __file__, "--part", part, "--inputs", str(inputs), "--out", str(folder)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
            measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            if part in parts:
                yield measured
        shutil.rmtree(folder)


def main() -> None:
    """Prints a line for each part and number of inputs."""
    parser = argparse.ArgumentParser(description="Memory and processor time of the parts that grow with the inputs.")
    parser.add_argument("--inputs", type=int, nargs="+", default=[50_000, 100_000, 200_000])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[name for name in PARTS if name != "networks"])
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.part:
        measure(wanted.part, wanted.inputs[0], wanted.out)
        return
    first: dict[str, float] = {}
    print(f"{'part':14}{'inputs':>10}{'us/input':>10}{'ratio':>7}{'MB at start':>13}{'peak MB':>9}")
    for one in ladder(wanted.inputs, wanted.out, wanted.parts):
        each = 1e6 * one["cpu_s"] / one["inputs"]
        ratio = each / first.setdefault(one["part"], each)
        print(
            f"{one['part']:14}{one['inputs']:10}{each:10.1f}{ratio:7.2f}{one['start_mb']:13.0f}{one['peak_mb']:9.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
