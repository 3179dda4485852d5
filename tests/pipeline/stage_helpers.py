"""What tests of single stages share: a small task of files, a teacher that is used as it is, and a store."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.sizes import small

from understudy.config.read import check_recipe, merge
from understudy.config.recipe import Recipe
from understudy.executors.local import Local
from understudy.models.checkpoint import save_network
from understudy.models.scratch import build_network
from understudy.models.tokenizers import train_tokenizer
from understudy.pipeline.build import RunStages, build_run
from understudy.pipeline.context import NETWORK, RunContext, run_context
from understudy.pipeline.local_teacher import LocalTeacher
from understudy.pipeline.run import QUIET
from understudy.pipeline.stages.pseudo_targets import PseudoTargetsStage
from understudy.pipeline.teacher_outputs import open_teacher
from understudy.pool.pool import PseudoTargetPool
from understudy.store import Stage

COLORS = ("red", "green", "blue", "black", "white", "grey", "pink", "brown")
THINGS = ("ball", "house", "tree", "river", "stone", "cloud", "horse", "lamp")
SOURCES = [f"{color} {thing}" for color in COLORS for thing in THINGS]
SHARD_INPUTS = 5


def write_task(folder: Path) -> dict[str, str]:
    """Writes 4 labeled, 4 dev and 4 test examples, and 40 unlabeled inputs; returns split -> path."""
    rows = [{"source": source, "target": source.split()[0]} for source in SOURCES]
    splits = {"labeled": rows[:4], "dev": rows[4:8], "test": rows[8:12]}
    splits["unlabeled"] = [{"source": row["source"]} for row in rows[12:52]]
    for split, own in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    return {split: str(folder / f"{split}.jsonl") for split in splits}


def save_teacher(folder: Path, *, seed: int = 1) -> str:
    """A BART of one layer with random weights, and a tokenizer that has a token for most words."""
    tokenizer = train_tokenizer([*SOURCES, *SOURCES, *SOURCES], vocab_size=150)
    network = build_network(small(), tokenizer, max_positions=80, seed=seed)
    save_network(network, tokenizer, folder)
    return str(folder)


@dataclass(frozen=True)
class SmallTask:
    """A task whose teacher generates texts of up to three tokens, of two likely tokens each, so that some repeat."""

    folder: Path
    plain: dict[str, Any]
    context: RunContext

    @classmethod
    def write(cls, folder: Path) -> "SmallTask":
        """Writes data and teacher into a folder; the store lies there too."""
        student = {"width": 8, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 8}
        plain = {
            "name": "small",
            "precision": "float32",
            "task": {
                "files": write_task(folder),
                "max_source_tokens": 16,
                "max_target_tokens": 8,
                "metrics": ["chrf"],
            },
            "teacher": {"model": save_teacher(folder / "teacher")},
            "student": {"scratch": student},
            "pseudo_targets": {
                "min_finished": 0,
                "per_input": 6,
                "decoding": {"kind": "sampling", "top_k": 2, "top_p": 1.0},
                "shard_inputs": SHARD_INPUTS,
            },
            "distil": {"method": "sampling"},
        }
        return cls(folder, plain, run_context(folder / "runs", QUIET))

    def teacher(self, **changes: Any) -> LocalTeacher:  # noqa: ANN401 - sections of a recipe
        """The prepared teacher of the recipe with these sections merged in."""
        teacher = open_teacher(check_recipe(merge(self.plain, changes)), self.context)
        assert isinstance(teacher, LocalTeacher)
        return teacher

    def pool_stage(self, **changes: Any) -> PseudoTargetsStage:  # noqa: ANN401 - sections of a recipe
        """The stage of all pseudo-targets of the recipe with these sections merged in; makes only what it needs."""
        stage = self.teacher(**changes).targets()
        assert isinstance(stage, PseudoTargetsStage)
        return stage

    def made(self, stage: Stage[Any]) -> Path:
        """The folder of a stage, which is made with all that it needs."""
        self.context.store.get(stage, Local(), self.context)
        return self.context.folder(stage)

    def pool(self, **changes: Any) -> PseudoTargetPool:  # noqa: ANN401 - sections of a recipe
        """The pool of the recipe with these sections merged in."""
        return PseudoTargetPool.open(self.made(self.pool_stage(**changes)))

    def texts(self, **changes: Any) -> dict[str, list[str]]:  # noqa: ANN401 - sections of a recipe
        """Input id -> its texts, in the pool's order."""
        pool = self.pool(**changes)
        return {name: [row.text for row in pool.targets_of(name)] for name in pool.inputs}

    def shards(self) -> dict[str, int]:
        """The shards in the store -> when each was written, in nanoseconds."""
        files = self.context.store.root.glob("pseudo_target_shard-*/*.parquet")
        return {path.parent.name: path.stat().st_mtime_ns for path in files}


def derive(recipe: Recipe, out: Path) -> tuple[RunStages, RunContext]:
    """The stages of a run; only data, tokenizer and examples are made."""
    context = run_context(out, QUIET)
    return build_run(recipe, context), context


def train(recipe: Recipe, out: Path) -> tuple[RunStages, RunContext]:
    """The stages of a run, made up to the predictions of the final student; no benchmark and no report."""
    stages, context = derive(recipe, out)
    context.store.get(stages.systems.final.predictions, Local(), context)
    return stages, context


def network_folder(stage: Stage[Any] | None, context: RunContext) -> Path:
    """Where a finished stage holds its network."""
    assert stage is not None
    return context.folder(stage) / NETWORK
