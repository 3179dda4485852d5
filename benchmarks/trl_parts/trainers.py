"""TRL's trainers on the networks and texts of a run of this package, timed and evaluated as it is.

Texts are tokenized before, and each network gets the token ids that it has in this package. Loading is not timed. Both
trainers sample without truncation at temperature 1 and minimize forward KL (beta 0), without gradient checkpointing,
which would only make them slower here.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benchmarks.trl_parts.curves import Point
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.utils.logging import disable_progress_bar
from trl import DistillationConfig, DistillationTrainer
from trl.experimental.gkd import GKDConfig, GKDTrainer

from understudy.models.task_tokenizer import TaskTokenizer
from understudy.records import Example
from understudy.training.dev_scoring import gold_likelihood


class Job(NamedTuple):
    """What a trainer needs."""

    teacher: Path
    student: Path
    """Its first weights."""
    reader: TaskTokenizer
    labeled: Sequence[Example]
    dev: Sequence[Example]
    learning_rate: float
    warmup_steps: int
    steps: int
    texts_per_step: int
    evaluate_every: int
    """In steps."""
    seed: int
    out: Path


class Clock(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Processor seconds of a training without its evaluations, and what these found."""

    def __init__(self, every: int, dev_loss: Callable[[PreTrainedModel], float]) -> None:
        self.curve: list[Point] = []
        self._every, self._dev_loss = every, dev_loss
        self._seconds = self._started = 0.0

    def on_train_begin(
        self, _args: object, _state: object, _control: object, *, model: PreTrainedModel, **_others: object
    ) -> None:
        """Evaluates the first weights."""
        self._evaluate(0, model)

    def on_step_end(
        self, _args: object, state: TrainerState, _control: object, *, model: PreTrainedModel, **_others: object
    ) -> None:
        """Evaluates after so many steps, and after the last one."""
        if state.global_step % self._every == 0 or state.global_step == state.max_steps:
            self._seconds += time.process_time() - self._started
            self._evaluate(state.global_step, model)

    def _evaluate(self, step: int, network: PreTrainedModel) -> None:
        self.curve.append(Point(step, self._seconds, self._dev_loss(network)))
        self._started = time.process_time()


class TokenizedPrompts(DistillationTrainer):  # type: ignore[misc]  # its base is Any where TRL is missing
    """TRL's trainer with prompts of token ids, as it tokenizes texts without this package's separator."""

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return prompts, None, {}


def dev_loss(network: PreTrainedModel, reader: TaskTokenizer, dev: Sequence[Example]) -> float:
    """The negative log-likelihood of gold in nats per token, as the metric `nll`."""
    nats, tokens = gold_likelihood(network, reader, dev).sum(axis=0)
    return float(nats / tokens)


def labeled_rows(reader: TaskTokenizer, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """The rows that TRL's collator takes as tokenized: a source with its first target."""
    sources = reader.encode_sources(examples)
    targets = reader.encode_targets([example.targets[0] for example in examples])
    return [
        {
            "prompt": example.source,
            "input_ids": source + target,
            "attention_mask": [1] * len(source + target),
            "completion_mask": [0] * len(source) + [1] * len(target),
        }
        for example, source, target in zip(examples, sources, targets, strict=True)
    ]


def train_gkd(job: Job) -> list[Point]:
    """On the student's samples in half of the steps, else on gold (lambda 0.5)."""
    own = GKDConfig(**_settings(job), lmbda=0.5, beta=0.0, temperature=1.0, max_new_tokens=job.reader.max_target_tokens)
    return _train(job, GKDTrainer, own, labeled_rows(job.reader, job.labeled))


def train_distillation(job: Job) -> list[Point]:
    """On the student's samples alone."""
    own = DistillationConfig(**_settings(job), beta=0.0, max_completion_length=job.reader.max_target_tokens)
    return _train(job, TokenizedPrompts, own, [{"prompt": row} for row in job.reader.encode_sources(job.labeled)])


def _settings(job: Job) -> dict[str, Any]:
    return {
        "output_dir": str(job.out),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": job.texts_per_step,
        "max_steps": job.steps,
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": job.warmup_steps,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "seed": job.seed,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _train(job: Job, trainer: type[Trainer], settings: TrainingArguments, rows: list[dict[str, Any]]) -> list[Point]:
    torch.set_num_threads(1)
    disable_progress_bar()
    student, teacher = (
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32) for path in (job.student, job.teacher)
    )
    clock = Clock(job.evaluate_every, lambda network: dev_loss(network, job.reader, job.dev))
    job.reader.tokenizer.padding_side = "left"
    training = trainer(
        model=student,
        teacher_model=teacher,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=job.reader.tokenizer,
        callbacks=[clock],
    )
    training.remove_callback(PrinterCallback)
    training.train()
    return clock.curve
