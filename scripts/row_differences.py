"""The paired difference of the scores of two rows of a study, seed by seed and over the seeds.

    understudy study benchmarks/cache_scores.yaml
    python scripts/row_differences.py runs/cache_scores "14 tokens" "64 tokens"

The resamples are those that the study saved with its cells: each draws the examples of both rows alike, then the seeds.
Drawing S seeds understates their variance by (S - 1) / S; the last column, Student's t over the seeds' differences,
does not, but takes the examples as given.
Axes: M metrics, K systems, R resamples.
"""

import argparse
import json
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np

from understudy.study.spread import Spread, mean_over_seeds

DISTILLED = 2
"""The place of the distilled student among the systems of a cell."""
T_975 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""The 97.5 % quantile of Student's t with 1, 2, ... degrees of freedom."""


def resamples(out: Path, study: str, cell: dict[str, Any], *, split: str, metric: str) -> Spread:
    """The score of the distilled student of a cell, with its resamples."""
    name = f"{cell['task']}-{cell['method'].replace(', ', '-').replace(' ', '-')}-{cell['seed']}.json"
    record = json.loads((out / study / "cells" / name).read_text(encoding="utf-8"))
    folder = out / "store" / record["stage"]
    facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["facts"]
    place = [own for own, _ in facts["higher_is_better"]].index(metric)
    scores_R = np.load(folder / f"{split}.npy")[place, DISTILLED]
    return Spread(cell["scores"][split][metric], scores_R, scores_R)


def shown(difference: Spread) -> str:
    """The number and its interval."""
    ends = difference.interval()
    return f"{difference.value:+.2f} [{ends['low']:+.2f}, {ends['high']:+.2f}]"


def main() -> None:
    """Prints a line for each seed, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="folder of the study; the store lies beside it")
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--task", help="default: the only one")
    parser.add_argument("--split", default="test", choices=["dev", "test"])
    parser.add_argument("--metric", default="bleu")
    args = parser.parse_args()
    table = json.loads((args.study / "results_table.json").read_text(encoding="utf-8"))
    cells = {
        (cell["method"], cell["seed"]): resamples(
            args.study.parent, args.study.name, cell, split=args.split, metric=args.metric
        )
        for cell in table["rows"]
        if cell["method"] in (args.first, args.second) and args.task in (None, cell["task"])
    }
    seeds = sorted(seed for name, seed in cells if name == args.first and (args.second, seed) in cells)
    pairs = [(cells[args.first, seed], cells[args.second, seed]) for seed in seeds]
    differences = [first.minus(second) for first, second in pairs]
    for seed, (first, second), own in zip(seeds, pairs, differences, strict=True):
        print(f"seed {seed}: {first.value:.2f} - {second.value:.2f} = {shown(own)}")
    whole = mean_over_seeds(differences, stream=0)
    if whole is None or len(seeds) < 2:
        return
    values = [own.value for own in differences]
    half = T_975[len(values) - 2] * stdev(values) / len(values) ** 0.5
    rows = f"{args.first} - {args.second}, {args.metric}, {args.split}, {len(seeds)} seeds"
    print(f"{rows}: {shown(whole)}; over seeds alone ± {half:.2f}")


if __name__ == "__main__":
    main()
