"""Recipes whose stages the tests of keys build, with the data, checkpoints and code that they name.

Nothing is trained: only the stages are made on which the keys of others depend.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.conftest import TINY, TRAINING
from tests.sizes import small

from understudy.config.read import check_recipe, merge
from understudy.config.recipe import Recipe
from understudy.demo.forecast import forecast_task
from understudy.models.checkpoint import save_network
from understudy.models.scratch import build_network
from understudy.models.tokenizers import train_tokenizer
from understudy.pipeline.build import build_run
from understudy.pipeline.context import run_context
from understudy.pipeline.teacher_outputs import endpoint_of
from understudy.progress import NoProgress
from understudy.store.stage import Stage, inputs_of

SPLITS = ("labeled", "unlabeled", "dev", "test")
CODE = "own_losses.py:first"
"""In the folder of the tests' data."""


class World:
    """Data, checkpoints and a server, and the recipes that use them."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address
        data = forecast_task(labeled=8, unlabeled=12, dev=4, test=4, references=2, seed=1)
        for name, part in (("data", slice(0, None)), ("other", slice(1, None))):
            (folder / name).mkdir()
            for split in SPLITS:
                rows = [
                    {
                        "id": e.id,
                        "name": e.id,
                        "source": e.source,
                        "input": e.source,
                        "targets": e.targets,
                        "texts": e.targets,
                    }
                    for e in getattr(data, split)
                ]
                write_lines(folder / name / f"{split}.jsonl", rows[part])
            inputs = [{"source": f"a {color} {thing}"} for color in ("red", "blue", "old") for thing in ("ball", "box")]
            write_lines(folder / name / "inputs.jsonl", inputs[part])
            (folder / name / "recorded.json").write_text(
                json.dumps({"train": {"text": [name], "tokens": [["x"]], "logprobs": [[{"x": -0.1}]]}})
            )
            texts = [one for e in data.labeled for one in (e.source, *e.targets)]
            tokenizer = train_tokenizer(texts, vocab_size=300)
            network = build_network(small(decoder_layers=3, dropout=0.1), tokenizer, max_positions=400, seed=len(name))
            save_network(network, tokenizer, folder / name / "model")
        loss = "def {name}(student, teacher, *, beta=1.0):\n    return beta * student.sum()\n\n\n"
        (folder / CODE.partition(":")[0]).write_text(loss.format(name="first") + loss.format(name="second"))
        self.recipes = {name: check_recipe(getattr(self, name)()) for name in ("scratch", "pretrained", "api")}

    def scratch(self) -> dict[str, Any]:
        """The embedded task, teacher and student from sizes, sparse log-probabilities, three sources of targets."""
        return merge(TINY, {"pseudo_targets": {"per_input": 3, "select": {"kind": "mbr", "n": 2}}})

    def pretrained(self) -> dict[str, Any]:
        """Files, a fine-tuned checkpoint and itself with fewer layers, a live teacher, two generations."""
        data = self.folder / "data"
        return {
            "name": "pretrained",
            "precision": "float32",
            "task": {
                "files": {split: str(data / f"{split}.jsonl") for split in SPLITS},
                "metrics": ["bleu", "chrf", "bertscore", "nll"],
                "bertscore": {"model": str(data / "model")},
                "max_source_tokens": 200,
                "max_target_tokens": 180,
                "labeled_inputs": 5,
                "unlabeled_inputs": 12,
            },
            "teacher": {"model": str(data / "model"), "finetune": TRAINING, "labels": "all"},
            "student": {"prune": {"decoder_layers": 2}, "finetune": TRAINING},
            "pseudo_targets": {"per_input": 2},
            "distil": {
                "method": "distillm2",
                "teacher_logprobs": {"kind": "dense"},
                "enable_teacher_dropout": True,
                "relations": {"of": "attention"},
                "student_samples": {"share": {"kind": "growing"}},
                "generations": 2,
            },
            "training": {**TRAINING, "patience": 2},
            "evaluation": {**TINY["evaluation"], "dev_inputs": 3},
        }

    def api(self) -> dict[str, Any]:
        """No labels, an API teacher, held-out inputs whose references it writes, its log-probabilities."""
        scratch = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "feed_forward": 16}
        return {
            "name": "api",
            "precision": "float32",
            "task": {
                "files": {"unlabeled": str(self.folder / "data" / "inputs.jsonl")},
                "held_out": {"dev": 1, "test": 1},
                "metrics": ["exact_match", "chrf", "nll"],
                "max_source_tokens": 64,
                "max_target_tokens": 64,
            },
            "teacher": {
                "endpoint": {
                    "model": "m",
                    "base_url": self.address,
                    "key": "SOME_KEY",
                    "top_logprobs": 2,
                    "max_tokens": 16,
                    "system": "be brief",
                    "price": {"input": 1.0, "output": 2.0},
                    "budget": 50.0,
                },
                "vocab_size": 120,
            },
            "student": {"scratch": scratch, "finetune": TRAINING},
            "pseudo_targets": {"per_input": 2, "decoding": {"kind": "sampling", "top_k": 0, "top_p": 0.9}},
            "distil": {"method": "extreme_logits", "teacher_logprobs": {"kind": "sparse", "top": 2}},
            "training": TRAINING,
            "evaluation": TINY["evaluation"],
        }

    def given(self) -> dict[str, Sequence[object]]:
        """Values to try where the type of a leaf is not enough."""
        other = self.folder / "other"
        model = str(other / "model")
        objective = [{"kind": "forward_kl"}, {"kind": "jsd"}, {"kind": "skew_kl"}]
        return {
            "name": ["renamed"],
            **{f"task.files.{split}": [str(other / f"{split}.jsonl")] for split in SPLITS},
            "task.prompt": ["say: {source}"],
            "task.metrics": [["bleu", "nll"], ["bleu", "chrf"], ["exact_match", "nll"], ["exact_match", "chrf"]],
            "task.primary_metric": ["chrf"],
            "task.bertscore": [{"model": model}],
            "task.bertscore.model": [model],
            "task.bertscore.layer": [1],
            "task.fields.id": ["name"],
            "task.fields.source": ["input"],
            "task.fields.targets": ["texts"],
            "task.pseudo_references": [["test"]],
            "teacher.model": [model],
            "teacher.finetune": [TRAINING],
            "teacher.vocab_size": [200, 100],
            "student.vocab_size": [280],
            "teacher.endpoint.base_url": [self.address.replace("127.0.0.1", "localhost")],
            "teacher.endpoint.key": ["OTHER_KEY"],
            "teacher.endpoint.prompt": ["say: {source}"],
            "teacher.endpoint.answer": [r"(.+)"],
            "teacher.endpoint.refusals": [["no"]],
            "teacher.endpoint.stop": [["stop"]],
            "teacher.endpoint.extra_body": [{"seed": 3}],
            "teacher.endpoint.recorded": [str(other / "recorded.json")],
            "student.prune.encoder_layers": [[0]],
            "distil.method": ["distillm", "logits_kd"],
            "distil.relations": [{"of": "hidden"}],
            "distil.final_finetune": [TRAINING],
            "distil.student_samples_objective": [{"kind": "reverse_kl"}],
            "distil.objective.kind": objective,
            "distil.student_samples_objective.kind": objective,
            "distil.objective.temperature": [1.05],  # one further from 1 is refused with the default truncation
            "distil.objective.function": [CODE.replace("first", "second")],
            "distil.objective.settings": [{"beta": 2.0}],
            "distil.teacher_logprobs.kind": [{"kind": "dense"}],
            "distil.student_samples.decoding.kind": [{"kind": "greedy"}],
            "distil.student_samples.share.kind": [{"kind": "adaptive"}],
            "pseudo_targets.inputs": [["labeled"]],
            "pseudo_targets.decoding.kind": [{"kind": "sampling", "top_k": 0}, {"kind": "k_beams", "beams": 4}],
            "pseudo_targets.select.kind": [{"kind": "agreement", "n": 2}],
            "evaluation.decoding.kind": [{"kind": "beam"}],
            "evaluation.dev_decoding.kind": [{"kind": "beam"}],
            "engine": ["hf"],
            "precision": ["bf16"],
        }

    def stages(self, recipe: Recipe, *, place: str = "runs") -> list[Stage[Any]]:
        """All stages of a run; what their keys depend on is made, and nothing is trained."""
        context = run_context(self.folder / place, NoProgress(), allow_code=True, endpoint=endpoint_of(recipe))
        built = build_run(recipe, context)
        found: dict[str, Stage[Any]] = {}

        def add(stage: Stage[Any]) -> None:
            if stage.key not in found:
                found[stage.key] = stage
                for _, earlier in inputs_of(stage):
                    add(earlier)

        add(built.scores)
        if built.preview:
            add(built.preview)
        return list(found.values())

    def keys(self, recipe: Recipe, *, place: str = "runs") -> set[str]:
        """The folders of all stages of a run."""
        return {stage.folder_name for stage in self.stages(recipe, place=place)}


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
