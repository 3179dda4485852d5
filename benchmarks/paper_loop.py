r"""How much time Joint-Teaching takes beside the paper's loop, until both have the same dev score.

The paper's loop (Calderon et al. 2023, section 5.2): transformers' `generate` writes the pseudo-targets and, at the
start of each epoch, the student's texts; the teacher scores every text in the training step; nothing is cached. The
other run is this package's: a fast engine, log-probabilities computed once, student texts used again for some rounds.
Both have one teacher, the same networks, batches and learning rates. Only what is done to distil is counted: the
stages that generate, convert, score and train, not the teacher and the baseline.

    python benchmarks/paper_loop.py                                    # the embedded task
    python benchmarks/paper_loop.py --data e2e --vocab-size 1000       # train, dev, test as .jsonl.gz in a folder
    python benchmarks/paper_loop.py --recipe own.yaml                  # a recipe of joint_teaching, with its teacher
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import understudy
from understudy.config.read import merge
from understudy.config.yaml_files import read_mapping, with_absolute_paths

LOOPS: dict[str, dict[str, Any]] = {
    "understudy": {"engine": "ctranslate2", "distil": {"student_samples": {"max_age": 3}}},
    "paper": {
        "engine": "hf",
        "pseudo_targets": {"compute_type": "float32"},
        "distil": {"teacher_logprobs": {"kind": "dense"}, "student_samples": {"max_age": 0}},
    },
}
"""Name -> the settings in which the runs differ."""
COUNTED = ("conversion", "pseudo_target", "teacher_logprob")
"""Beginnings of the names of the stages before the student's training that distillation needs."""


class Loop(NamedTuple):
    """What one run took."""

    stages: dict[str, float]
    """Stage before the training -> seconds."""
    curve: list[tuple[float, float]]
    """Seconds of training and the dev score at each evaluation."""

    def seconds_to(self, score: float) -> float:
        """Seconds of all stages and of the training until its first evaluation with this score."""
        return sum(self.stages.values()) + next(seconds for seconds, own in self.curve if own >= score)


def task(arguments: argparse.Namespace) -> dict[str, Any]:
    """The section `task`."""
    if arguments.data is None:
        return {
            "forecast": {"labeled": arguments.labeled, "unlabeled": arguments.unlabeled, "dev": 120, "test": 50},
            "max_source_tokens": 64,
            "max_target_tokens": 96,
        }
    files = {"labeled": "train", "dev": "dev", "test": "test"}
    return {
        "files": {split: str(arguments.data.resolve() / f"{name}.jsonl.gz") for split, name in files.items()},
        "labeled_inputs": arguments.labeled,
        "unlabeled_inputs": arguments.unlabeled,
        "max_source_tokens": 128,
        "max_target_tokens": 128,
    }


def networks(arguments: argparse.Namespace) -> dict[str, Any]:
    """The sections `teacher` and `student`; the teacher trains once, on all labels."""
    bart = {"architecture": "bart", "heads": 4}
    return {
        "teacher": {
            "scratch": bart | {"width": 256, "encoder_layers": 3, "decoder_layers": 3, "feed_forward": 1024},
            "vocab_size": arguments.vocab_size,
            "finetune": {
                "learning_rate": 7e-4,
                "epochs": arguments.teacher_epochs,
                "batch_tokens": 2500,
                "targets_per_source": 4,
                "warmup_steps": arguments.warmup_steps,
            },
        },
        "student": {
            "scratch": bart | {"width": 96, "encoder_layers": 2, "decoder_layers": 1, "feed_forward": 256},
            "finetune": {"learning_rate": 2e-3, "epochs": 1, "batch_tokens": 1600, "warmup_steps": 0},
        },
    }


def recipe(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The recipe of one run."""
    own = LOOPS[name]
    if arguments.recipe:
        return merge(
            with_absolute_paths(read_mapping(arguments.recipe, "recipe"), arguments.recipe.parent), own | {"name": name}
        )
    return {
        "name": name,
        "task": task(arguments) | {"metrics": ["bleu"]},
        **networks(arguments),
        "pseudo_targets": {"per_input": arguments.per_input} | own.get("pseudo_targets", {}),
        "distil": {"method": "joint_teaching"} | own["distil"],
        "training": {
            "learning_rate": arguments.learning_rate,
            "epochs": arguments.epochs,
            "batch_tokens": 1600,
            "warmup_steps": arguments.warmup_steps,
            "evaluate_every": arguments.evaluate_every,
        },
        "evaluation": {"dev_inputs": 120, "repeats": 1, "resamples": 50, "latency_inputs": 2, "batch_inputs": 4},
        "engine": own["engine"],
    }


def run(name: str, arguments: argparse.Namespace, teacher: Path | None) -> tuple[Loop, Path]:
    """Runs one recipe; a teacher that is given is used as it is."""
    settings = recipe(name, arguments)
    if teacher:
        settings["teacher"] = {"model": str(teacher)}
    with understudy.rich_progress() as progress:
        done = understudy.run(understudy.check_recipe(settings), out=arguments.out, progress=progress)
    facts: Mapping[str, Any] = done.facts
    stages: Counter[str] = Counter()
    for stage in facts["stages"]:  # a stage that splits has an entry for each of its shards
        if stage["name"].startswith(COUNTED):
            stages[stage["name"]] += stage["seconds"]
    curve = [(point["seconds"], point["dev"]["bleu"]) for point in facts["curves"]["joint_teaching"] if "dev" in point]
    return Loop(dict(stages), curve), done.stages["teacher"] / "network"


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of train, dev and test; default: the embedded task")
    parser.add_argument("--recipe", type=Path, help="instead of the other options; its dev metric is BLEU")
    parser.add_argument("--labeled", type=int, default=300)
    parser.add_argument("--unlabeled", type=int, default=1200)
    parser.add_argument("--per-input", type=int, default=8)
    parser.add_argument("--vocab-size", type=int, default=1000)
    parser.add_argument("--teacher-epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--warmup-steps", type=int, default=50)
    parser.add_argument("--evaluate-every", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/paper_loop"))
    return parser.parse_args()


def main() -> None:
    """Prints the seconds of every stage, the curves, and the seconds to the same dev score."""
    arguments = read_arguments()
    ours, teacher = run("understudy", arguments, None)
    paper, _ = run("paper", arguments, teacher)
    score = min(max(own for _, own in loop.curve) for loop in (ours, paper))
    for name, loop in (("understudy", ours), ("paper", paper)):
        shown = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in loop.stages.items())
        curve = ", ".join(f"{own:.1f} after {seconds:.0f} s" for seconds, own in loop.curve)
        print(f"{name}: {shown}; training: dev BLEU {curve}; {loop.seconds_to(score):.0f} s to {score:.1f}")
    print(f"ratio: {paper.seconds_to(score) / ours.seconds_to(score):.2f}")
    json.dump({"score": score, "understudy": ours._asdict(), "paper": paper._asdict()}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
