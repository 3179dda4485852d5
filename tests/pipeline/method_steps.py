"""The trainings of student stages at a learning rate of nearly zero, and what they learned, for tests of methods."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tests.pipeline.naive_losses import Pair
from tests.sizes import small
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.model_sections import Architecture
from understudy.config.read import check_recipe, merge
from understudy.executors.local import Local
from understudy.models.checkpoint import load_network, save_network
from understudy.models.scratch import build_network
from understudy.models.tokenizers import train_tokenizer
from understudy.pipeline.build import build_run
from understudy.pipeline.context import NETWORK, RunContext, run_context
from understudy.pipeline.stages.student import StudentStage
from understudy.pipeline.stages.training import NetworkTraining
from understudy.progress import NoProgress
from understudy.store.stage import inputs_of
from understudy.training.items import TrainItem
from understudy.training.loop import train
from understudy.training.mixture import plan_round
from understudy.training.spec import DevScoring, TrainSpec
from understudy.training.state import TrainState
from understudy.training.student_sampling import StudentSamples

EPOCHS = 3
KEPT = 64
SOURCES = [
    f"{color} {thing}" for color in ("red", "green", "blue", "black") for thing in ("ball", "house", "tree", "lamp")
]
LABELED, UNLABELED = 6, 10
GOLD = [(source.split()[0], source) if index < 2 else (source.split()[1],) for index, source in enumerate(SOURCES)]
"""Two targets of the first two sources, one of the others."""


Learned = tuple[str, Pair, TrainItem]
"""The generator of a target, its source and itself as token ids, and where they come from."""


@dataclass
class World:
    """Data, two checkpoints of each family, with and without dropout, and a store."""

    folder: Path
    context: RunContext = field(init=False)

    def __post_init__(self) -> None:
        """Writes the files."""
        self.context = run_context(self.folder / "runs", NoProgress())
        self.tokenizer: PreTrainedTokenizerBase = train_tokenizer(SOURCES * 3, vocab_size=150)
        rows: list[dict[str, Any]] = [{"source": s, "targets": list(t)} for s, t in zip(SOURCES, GOLD, strict=True)]
        splits = {"labeled": rows[:LABELED], "unlabeled": rows[LABELED:]}
        held_out: list[dict[str, Any]] = [
            {"source": f"{place} ball", "target": "red"} for place in ("old", "new", "big", "small")
        ]
        splits |= {"dev": held_out[:2], "test": held_out[2:]}
        for split, own in splits.items():
            (self.folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))

    def checkpoint(self, architecture: Architecture, role: str, dropout: float) -> str:
        """A network whose distributions are far from uniform."""
        place = self.folder / f"{architecture}-{role}-{dropout}"
        if not place.is_dir():
            sizes = small(architecture, dropout=dropout, **({"width": 32} if role == "teacher" else {}))
            network = build_network(sizes, self.tokenizer, max_positions=64, seed=len(role))
            for weights in network.parameters():
                weights.data.mul_(6 if weights.ndim > 1 else 1)
            save_network(network, self.tokenizer, place)
        return str(place)

    def stages(
        self,
        method: str,
        architecture: Architecture,
        *,
        dropout: float = 0.0,
        **changes: Any,  # noqa: ANN401 - sections of a recipe
    ) -> list[StudentStage]:
        """The students of a method, by generation; all they need is made."""
        plain = {
            "name": "step",
            "precision": "float32",
            "task": {
                "files": {
                    split: str(self.folder / f"{split}.jsonl") for split in ("labeled", "unlabeled", "dev", "test")
                },
                "max_source_tokens": 24,
                "max_target_tokens": 12,
                "metrics": ["chrf"],
            },
            "teacher": {
                "model": self.checkpoint(architecture, "teacher", dropout),
                # The naive losses read a source once, for both networks.
                "template": "separator" if architecture == "gpt2" else "auto",
            },
            "student": {"model": self.checkpoint(architecture, "student", dropout)},
            "distil": {"method": method},
            "pseudo_targets": {"min_finished": 0},
            "training": {"learning_rate": 1e-12, "epochs": EPOCHS, "batch_tokens": 100_000},
        }
        systems = build_run(check_recipe(merge(plain, changes)), self.context).systems
        stages = [*systems.generations, systems.student]
        needed = [earlier for stage in stages for _, earlier in inputs_of(stage)]
        for stage in needed:
            self.context.store.get(stage, Local(), self.context)
        return [stage for stage in stages if isinstance(stage, StudentStage)]


@dataclass
class Recorded:
    """One training, with what it was given."""

    job: NetworkTraining
    state: TrainState
    samples: dict[int, StudentSamples]


def trained(stage: StudentStage, context: RunContext, folder: Path) -> Recorded:
    """Three steps of the stage's own training; the dev score falls from one to the next."""
    samples: dict[int, StudentSamples] = {}
    folder.mkdir()
    job = stage.training(folder, context)
    dev_scores = iter((3.0, 2.0, 1.0))

    def recorded(network: PreTrainedModel, items: Sequence[TrainItem], number: int) -> StudentSamples:
        samples[number] = job.sample_student(network, items, number)
        return samples[number]

    assert job.loss is not None
    dev = DevScoring(lambda _network: {"fit": next(dev_scores)}, "fit", higher_is_better=True)
    state = train(
        job.network,
        job.mixture,
        TrainSpec(job.loss, job.teacher, dev),
        settings=job.settings.training,
        seed=job.settings.seed,
        precision="float32",
        device=torch.device("cpu"),
        pad=job.tokenizer.pad_id,
        folder=folder,
        sample_student=recorded,
        progress=lambda *_: None,
    )
    return Recorded(job, state, samples)


def plan(done: Recorded, epoch: int, share: float | None) -> list[Learned]:
    """Generator, source and target of everything that an epoch learns."""
    mixture = done.job.mixture
    rows: Iterator[tuple[int, ...]] = iter(())
    items = plan_round(mixture, number=epoch, seed=done.job.settings.seed, student_share=share)
    if epoch in done.samples:
        rows = (item.rows for item in done.samples[epoch].items)
    learned: list[Learned] = []
    for item in items:
        if item.generator == "student":
            texts, (row,) = done.samples[epoch].texts, next(rows)
        else:
            texts, (row,) = mixture.targets[item.generator].texts, item.rows
        learned.append((item.generator, (mixture.sources[item.source].tolist(), texts[row].tolist()), item))
    return learned


def teacher_network(stage: StudentStage, context: RunContext) -> PreTrainedModel:
    """The network that the stage's student is compared with."""
    network = next(earlier for path, earlier in inputs_of(stage) if path == "teacher.network")
    return load_network(str(context.folder(network) / NETWORK)).double().eval()
