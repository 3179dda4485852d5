r"""How long TRL's trainers and this package take to the same dev loss, with one teacher and one student.

A Llama-type teacher, trained on the embedded task, and a Llama-type student with the same tokenizer that was fine-tuned
on the labels. From these weights on, with the same labeled inputs, one thread each, a process for each training:

    understudy, gkd             gold and student samples in equal parts, forward KL; samples are used for four epochs
    understudy, gkd, no replay  the same with new samples in each epoch: the method of the next row
    TRL, GKDTrainer             lambda 0.5, beta 0, gold where the student does not generate
    TRL, DistillationTrainer    beta 0, student samples alone
    understudy, joint_teaching  the teacher's texts, student samples, a tenth of gold; samples are used for four epochs

Each system trains at each learning rate, constant after warm-up, in turn; the fastest counts. Dev loss is the negative
log-likelihood of gold, computed by one function. Time is that of one processor core, so that other work on the machine
changes it little. It is the time of all that distillation needs: here the stages before the training (conversion of the
teacher, pseudo-targets, teacher log-probabilities) and the training. Evaluations, start-up and the loading before a
training count for none.

    python benchmarks/trl_comparison.py            # about 15 minutes of one core
    python benchmarks/trl_comparison.py --small    # to try the script
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.trl_parts import stages
from benchmarks.trl_parts.curves import Point, common_loss, fastest

from understudy.models.task_tokenizer import TextLimits, checkpoint_task_tokenizer
from understudy.pipeline.context import NETWORK
from understudy.pipeline.stages.data import read_data

SMALL = {"labeled": 80, "teacher_labels": 160, "teacher_epochs": 2, "start_epochs": 2, "epochs": 2}
TEXTS = {"kind": "sampling", "top_k": 0, "top_p": 1.0}
"""Samples without truncation, as TRL's."""
REPLAY = {"decoding": TEXTS, "max_age": 3}
GKD = {"method": "gkd", "objective": {"kind": "forward_kl"}}
METHODS: dict[str, dict[str, Any]] = {
    "understudy, gkd": GKD | {"student_samples": REPLAY},
    "understudy, gkd, no replay": GKD | {"student_samples": {"decoding": TEXTS}},
    "understudy, joint_teaching": {"method": "joint_teaching", "student_samples": REPLAY},
}
"""System -> its section `distil`."""
TARGETS_PER_INPUT: dict[str, float] = {"gkd": 2.0, "joint_teaching": 1 / 0.9}
"""Method -> targets of an epoch, which depend on its share of gold."""
TRAINERS = {"TRL, GKDTrainer": "train_gkd", "TRL, DistillationTrainer": "train_distillation"}
SYSTEMS = ("understudy, gkd", "understudy, gkd, no replay", *TRAINERS, "understudy, joint_teaching")


class Training(NamedTuple):
    """One training of one system."""

    curve: list[Point]
    texts: int
    """That it trained on."""
    stages: Mapping[str, float]
    """Stage before the training -> its seconds, which are also in the curve."""


def epochs_of(system: str, arguments: argparse.Namespace) -> int:
    """As many as give about equally many texts."""
    epochs: int = arguments.epochs  # of gkd
    return round(epochs * TARGETS_PER_INPUT["gkd"] / TARGETS_PER_INPUT[METHODS[system]["method"]])


def recipe(system: str, rate: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """The recipe of a run of this package; teacher and first weights are the same for all."""
    llama = {"architecture": "llama", "encoder_layers": 0, "heads": 4, "dropout": 0.0}
    tuned = {"batch_tokens": arguments.batch_tokens, "warmup_steps": arguments.warmup_steps}
    return {
        "name": "trl-comparison",
        "task": {
            "forecast": {
                "labeled": arguments.labeled,
                "unlabeled": arguments.teacher_labels - arguments.labeled,
                "dev": 100,
                "test": 20,
                "references": 1,
            },
            "metrics": ["nll"],
            "max_source_tokens": 64,
            "max_target_tokens": 96,
        },
        "teacher": {
            "scratch": llama
            | {
                "width": arguments.teacher_width,
                "decoder_layers": arguments.teacher_layers,
                "feed_forward": arguments.teacher_width * 8 // 3,
            },
            "vocab_size": 1000,
            "finetune": tuned
            | {"learning_rate": 1.5e-3 * 192 / arguments.teacher_width, "epochs": arguments.teacher_epochs},
        },
        "student": {
            "scratch": llama | {"width": 96, "decoder_layers": 2, "feed_forward": 256},
            "finetune": tuned | {"learning_rate": 3e-3, "epochs": arguments.start_epochs},
        },
        "pseudo_targets": {"inputs": ["labeled"]}
        | ({"per_input": 4, "decoding": TEXTS} if METHODS[system]["method"] == "joint_teaching" else {}),
        "distil": METHODS[system] | {"initial_weights": "fine_tuned"},
        "training": tuned
        | {
            "learning_rate": rate,
            "epochs": epochs_of(system, arguments),
            "schedule": "constant",
            "keep_weights": "last",
        },
    }


def train_ours(system: str, rate: float, arguments: argparse.Namespace, seconds: dict[str, float]) -> Training:
    """Trains with a recipe; `seconds` are those of the stages that exist already."""
    curve, before = stages.train(recipe(system, rate, arguments), arguments.out, seconds)
    texts = round(TARGETS_PER_INPUT[METHODS[system]["method"]] * arguments.labeled) * epochs_of(system, arguments)
    return Training(curve, texts, before)


def prepare(arguments: argparse.Namespace) -> dict[str, Path]:
    """Trains the teacher and the first weights; stage -> its folder."""
    own = recipe(SYSTEMS[0], arguments.learning_rates[0], arguments)
    return stages.make(own, arguments.out, {"data", "teacher", "fine_tuned"})


def train_trl(system: str, rate: float, arguments: argparse.Namespace, folders: Mapping[str, Path]) -> Training:
    """Trains as many steps as `gkd` does, of equally many texts."""
    from benchmarks.trl_parts import trainers

    student = folders["fine_tuned"] / NETWORK
    reader = checkpoint_task_tokenizer(TextLimits("{source}", 64, 96), str(student))
    data = read_data(folders["data"])
    rows = trainers.labeled_rows(reader, data.labeled)
    texts = round(arguments.batch_tokens * len(rows) / sum(len(row["input_ids"]) for row in rows))
    job = trainers.Job(
        teacher=folders["teacher"] / NETWORK,
        student=student,
        reader=reader,
        labeled=data.labeled,
        dev=data.dev,
        learning_rate=rate,
        warmup_steps=arguments.warmup_steps,
        steps=round(2 * arguments.epochs * len(rows) / texts),
        texts_per_step=texts,
        evaluate_every=max(1, round(len(rows) / texts)),
        seed=13,
        out=arguments.out / "trl",
    )
    return Training(getattr(trainers, TRAINERS[system])(job), job.steps * texts, {})


def print_figures(systems: Mapping[str, Mapping[float, Training]]) -> None:
    """The curves, and for every pair of a trainer of TRL and one of ours the seconds to the loss that both reach."""
    curves = {name: [training.curve for training in own.values()] for name, own in systems.items()}
    for name, own in systems.items():
        for rate, training in own.items():
            shown = ", ".join(f"{point.loss:.3f} after {point.seconds:.1f} s" for point in training.curve)
            steps = training.curve[-1].step
            print(f"{name}, learning rate {rate:g}: {steps} steps of {training.texts / steps:.1f} texts; {shown}")
            if training.stages:
                print("  of these " + ", ".join(f"{stage} {own:.1f} s" for stage, own in training.stages.items()))
    groups = [[other, ours] for other in TRAINERS for ours in METHODS if {other, ours} <= curves.keys()]
    for names in [list(curves), *groups]:
        loss = common_loss(curves[name] for name in names)
        seconds = {name: fastest(curves[name], loss) for name in names}
        print(f"to {loss:.3f}: " + ", ".join(f"{name} {own:.1f} s" for name, own in seconds.items()))
        if names in groups:
            print(f"  ratio {seconds[names[0]] / seconds[names[1]]:.2f}")


def read_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labeled", type=int, default=400)
    parser.add_argument("--teacher-labels", type=int, default=2400, help="labels that the teacher trains on")
    parser.add_argument("--teacher-epochs", type=int, default=3)
    parser.add_argument("--teacher-width", type=int, default=192)
    parser.add_argument("--teacher-layers", type=int, default=4)
    parser.add_argument("--start-epochs", type=int, default=6, help="of the fine-tuning that all start from")
    parser.add_argument("--epochs", type=int, default=3, help="each of two targets per input")
    parser.add_argument("--batch-tokens", type=int, default=1600)
    parser.add_argument("--warmup-steps", type=int, default=10)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[2e-3, 4e-3])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--small", action="store_true", help="small sizes and one learning rate")
    parser.add_argument("--out", type=Path, help="folder of the stages; default: a new temporary one")
    arguments = parser.parse_args(words)
    if arguments.small:
        vars(arguments).update(SMALL, learning_rates=[2e-3])
    if missing := [name for name in ("trl", "datasets", "accelerate") if find_spec(name) is None]:
        parser.error(f"{', '.join(missing)} not installed; pip install 'trl==1.16.*' datasets accelerate")
    arguments.out = arguments.out or Path(mkdtemp(prefix="trl_comparison-"))
    if any(arguments.out.glob("store/student-*")):
        parser.error(f"{arguments.out} has students of an earlier run, which would not be timed; choose another --out")
    return arguments


def main() -> None:
    """Trains all systems at all learning rates, each in a process of its own, and prints the figures."""
    arguments = read_arguments()
    own = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore", "TRL_EXPERIMENTAL_SILENCE": "1"}
    os.environ |= own | quiet | {"HF_HUB_OFFLINE": "1"}
    systems: dict[str, dict[float, Training]] = {name: {} for name in arguments.systems}
    seconds: dict[str, float] = {}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        folders = processes.submit(prepare, arguments).result()
        for rate in arguments.learning_rates:
            for name, trainings in systems.items():
                if name in METHODS:
                    trainings[rate] = processes.submit(train_ours, name, rate, arguments, seconds).result()
                    seconds |= trainings[rate].stages
                else:
                    trainings[rate] = processes.submit(train_trl, name, rate, arguments, folders).result()
                print(json.dumps([name, rate, trainings[rate]]), file=sys.stderr, flush=True)
    print_figures(systems)
    json.dump({name: {rate: one._asdict() for rate, one in own.items()} for name, own in systems.items()}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
