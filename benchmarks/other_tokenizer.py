"""Whether a student with another tokenizer learns more from a local teacher's log-probabilities than from its texts.

A Llama-type teacher and a GPT-2-type student, each with a tokenizer of its own trained on the embedded task, in several
ways that go on from the same fine-tuned student and train on equally many targets:

    joint_teaching             log-probabilities mapped by bytes, on texts of the teacher and of the student
    sampling                   the same on texts of the teacher and gold
    sequence_level             texts of the labeled inputs, by beam search, and gold: the method as published
    sequence_level, all inputs the sampled texts of joint_teaching and gold, as text
    joint_teaching, shared     joint_teaching by a student with the teacher's tokenizer

Each other row is compared with `joint_teaching` on the same test inputs, seed by seed (paired bootstrap intervals), and
over the seeds. The sizes are options: `--small` is a try of some minutes, whose scores say nothing.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from understudy.cli.progress_bars import rich_progress
from understudy.config.read import check_recipe, merge
from understudy.pipeline.inspect.comparison import compare
from understudy.pipeline.run import Run, run

FIRST = "joint_teaching"
T_975 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}
"""Number of seeds -> the 97.5 % quantile of Student's t with one degree of freedom less."""
SMALL: dict[str, Any] = {
    "task": {"forecast": {"labeled": 60, "unlabeled": 120, "dev": 20, "test": 40}},
    "teacher": {
        "scratch": {"width": 32, "feed_forward": 64, "decoder_layers": 1},
        "finetune": {"epochs": 2, "warmup_steps": 1},
    },
    "student": {
        "scratch": {"width": 16, "feed_forward": 32, "decoder_layers": 1},
        "finetune": {"epochs": 1, "warmup_steps": 0},
    },
    "pseudo_targets": {"per_input": 2, "min_finished": 0},
    "training": {"epochs": 2, "warmup_steps": 1},
}
ALL_SAMPLED = {
    "inputs": ["labeled", "unlabeled"],
    "decoding": {"kind": "sampling", "top_k": 50, "top_p": 0.95},
}


def recipes(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Row -> its recipe; rows on labeled inputs alone make more passes, so that all train on as many targets."""
    epochs, small = arguments.epochs, arguments.small
    unlabeled = SMALL["task"]["forecast"]["unlabeled"] if small else arguments.unlabeled
    labeled = SMALL["task"]["forecast"]["labeled"] if small else arguments.labeled
    base = merge(_base(arguments), SMALL) if small else _base(arguments)
    epochs = SMALL["training"]["epochs"] if small else epochs
    passes = round(epochs * (labeled + unlabeled) / (2 * labeled))  # half of its targets are gold
    own = {"distil": {"method": FIRST, "student_samples": {"start": 0.25}}}
    text_of_all = {
        "distil": {"method": "sequence_level", "targets": {"gold": 0.1, "teacher": 0.9}},
        "pseudo_targets": ALL_SAMPLED,
        "training": {"epochs": round(0.9 * epochs)},
    }
    labeled_alone = {
        "distil": {"method": "sequence_level"},
        "training": {"epochs": passes, "evaluate_every": max(1, passes // 4)},
        "pseudo_targets": {"inputs": ["labeled"], "per_input": 1, "decoding": {"kind": "beam"}},
    }
    return {
        FIRST: merge(base, own),
        "sampling": merge(base, {"distil": {"method": "sampling"}, "training": {"epochs": round(0.9 * epochs)}}),
        "sequence_level": merge(base, labeled_alone),
        "sequence_level, all inputs": merge(base, text_of_all),
        "joint_teaching, shared": merge(base, {**own, "student": {"vocab_size": None}}),
    }


def _base(arguments: argparse.Namespace) -> dict[str, Any]:
    sizes = {"encoder_layers": 0, "heads": 4, "dropout": 0.0}
    tuned = {"batch_tokens": 2000, "learning_rate": 1.5e-3}
    return {
        "seed": 13,
        "task": {
            "forecast": {
                "labeled": arguments.labeled,
                "unlabeled": arguments.unlabeled,
                "dev": 120,
                "test": arguments.test,
            },
            "max_source_tokens": 160,
            "max_target_tokens": 200,
        },
        "teacher": {
            "scratch": sizes | {"architecture": "llama", "width": 192, "decoder_layers": 4, "feed_forward": 512},
            "vocab_size": arguments.teacher_tokens,
            "finetune": tuned | {"epochs": arguments.teacher_epochs},
        },
        "student": {
            "scratch": sizes | {"architecture": "gpt2", "width": 96, "decoder_layers": 2, "feed_forward": 256},
            "vocab_size": arguments.student_tokens,
            "finetune": tuned | {"epochs": 24, "evaluate_every": 4, "patience": 3},
        },
        "distil": {"initial_weights": "fine_tuned"},
        "pseudo_targets": {"per_input": 4},
        "training": {"learning_rate": 3e-3, "epochs": arguments.epochs, "batch_tokens": 2500},
        "evaluation": {"repeats": 1, "latency_inputs": 4, "batch_inputs": 8},  # speed is not the question
    }


def differences(runs: Mapping[tuple[str, int], Run], rows: list[str], seeds: list[int]) -> None:
    """Prints the advantage of the first row over each other one, seed by seed and over all seeds."""
    for row in rows[1:]:
        values = []
        for seed in seeds:
            facts = compare([f"a={runs[rows[0], seed].folder}", f"b={runs[row, seed].folder}"]).facts
            own = facts["metrics"][facts["primary_metric"]]
            lead = own["advantages"]["b:student"]
            values.append(float(lead["value"] or 0.0))
            print(
                f"{rows[0]} - {row}, seed {seed}: {values[-1]:+.2f} {own['label']} [{lead['low']:+.2f}, "
                f"{lead['high']:+.2f}] ({own['scores']['a:student']['value']:.2f} and "
                f"{own['scores']['b:student']['value']:.2f})"
            )
        if len(seeds) in T_975:
            half = T_975[len(seeds)] * stdev(values) / len(seeds) ** 0.5
            print(f"{rows[0]} - {row}, {len(seeds)} seeds: {mean(values):+.2f} ± {half:.2f} (95 %, over seeds)")


def main() -> None:
    """Runs all rows and prints the scores, the shares of positions, and the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/other_tokenizer"))
    parser.add_argument("--rows", nargs="+", default=[], help="instead of all; the first is compared with the others")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="of the students")
    parser.add_argument("--labeled", type=int, default=500)
    parser.add_argument("--unlabeled", type=int, default=2000)
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=16, help="of joint_teaching; other rows train on as many targets")
    parser.add_argument("--teacher-epochs", type=int, default=12)
    parser.add_argument("--teacher-tokens", type=int, default=1000)
    parser.add_argument("--student-tokens", type=int, default=400)
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the script")
    arguments = parser.parse_args()
    known = recipes(arguments)
    rows, runs = arguments.rows or list(known), {}
    for seed in arguments.seeds:
        for row in rows:
            name = f"{row.replace(', ', '-').replace(' ', '-')}-{seed}"
            recipe = check_recipe(known[row] | {"name": name, "student_seed": seed})
            with rich_progress() as progress:
                runs[row, seed] = done = run(recipe, out=arguments.out, progress=progress)
            scores = {own["name"]: own["scores"] for own in done.facts["systems"]}
            metric = done.facts["primary_metric"]
            print(f"{name}: " + ", ".join(f"{own} {score[metric]['value']:.2f}" for own, score in scores.items()))
            print(f"  token map: {json.dumps(done.facts.get('token_map', []))}")
    differences(runs, rows, arguments.seeds)


if __name__ == "__main__":
    main()
