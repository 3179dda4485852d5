"""How much faster the teacher generates with CTranslate2 than with transformers, and whether the texts differ.

Both engines generate for the same real inputs of the embedded task with the same checkpoint, in turn, several times;
the ratio is computed pair by pair and its median reported. `--run` names the finished run whose teacher is used.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import torch

from understudy.config.decoding import Beam, Decoding, Greedy, Sampling
from understudy.generation import Engine, open_engine
from understudy.models.task_tokenizer import checkpoint_task_tokenizer
from understudy.pipeline.inspect.open import open_run
from understudy.pipeline.prepare import text_limits
from understudy.pipeline.stages.data import read_data

PAIRS = 3
DECODINGS: dict[str, tuple[Decoding, int]] = {
    "greedy": (Greedy(), 1),
    "beam 4": (Beam(), 1),
    "8 samples": (Sampling(), 8),
}


def timed(
    engine: Engine, sources: list[list[int]], decoding: Decoding, count: int, limit: int
) -> tuple[float, list[tuple[int, ...]]]:
    """Seconds of one call, and the texts."""
    started = time.perf_counter()
    generated = engine.generate(sources, decoding, per_source=count, max_tokens=limit, seed=1)
    return time.perf_counter() - started, [text.token_ids for texts in generated for text in texts]


def main() -> None:
    """Print a table: seconds of each engine, the ratio, and the number of identical texts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="a finished run (make demo)")
    parser.add_argument("--inputs", type=int, default=256)
    parser.add_argument(
        "--workspace", type=Path, default=Path("runs/benchmark"), help="folder for the converted teacher"
    )
    arguments = parser.parse_args()
    run = open_run(arguments.run)
    checkpoint = run.stage("teacher") / "network"
    tokenizer = checkpoint_task_tokenizer(text_limits(run.recipe), str(checkpoint))
    sources = tokenizer.encode_sources(read_data(run.stage("data")).test[: arguments.inputs])
    limit = run.recipe.task.max_target_tokens
    # A conversion is reused, so its folder is named after the teacher's stage.
    workspace = arguments.workspace / run.stage("teacher").name
    print(f"{len(sources)} inputs, {PAIRS} pairs, {torch.get_num_threads()} threads, teacher of {arguments.run}")
    with (
        open_engine("hf", checkpoint, workspace=workspace) as slow,
        open_engine("ctranslate2", checkpoint, workspace=workspace) as fast,
    ):
        for name, (decoding, count) in DECODINGS.items():
            pairs = [
                (timed(slow, sources, decoding, count, limit), timed(fast, sources, decoding, count, limit))
                for _ in range(PAIRS)
            ]
            ratio = median(hf[0] / ct2[0] for hf, ct2 in pairs)
            same = sum(a == b for a, b in zip(pairs[0][0][1], pairs[0][1][1], strict=True))
            tokens = sum(map(len, pairs[0][1][1]))
            shown = "different samples" if count > 1 else f"{same} of {len(sources)} texts identical"
            print(
                f"{name:<10} hf {median(p[0][0] for p in pairs):7.2f} s   ctranslate2 "
                f"{median(p[1][0] for p in pairs):7.2f} s ({tokens / median(p[1][0] for p in pairs):,.0f} tokens/s)   "
                f"ratio {ratio:5.2f}   {shown}"
            )


if __name__ == "__main__":
    main()
