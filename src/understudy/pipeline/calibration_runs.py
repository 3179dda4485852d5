"""What is run to measure a machine: optimizer steps, generations and conversions of small random networks."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import EngineName, Greedy
from understudy.config.model_sections import Scratch
from understudy.config.objectives import CrossEntropy
from understudy.config.training import Training
from understudy.generation import live_engine
from understudy.models.scratch import build_network
from understudy.models.tokenizers import train_tokenizer
from understudy.objectives import objective_of
from understudy.pipeline.context import default_device, resolve_precision
from understudy.pipeline.network_size import size_of
from understudy.pipeline.work import Features, conversion_work, generation_work, training_work
from understudy.pool.token_arrays import Targets, TokenArrays
from understudy.training.items import TrainItem
from understudy.training.loop import train_step
from understudy.training.mixture import Mixture
from understudy.training.spec import BoundObjective, DevScoring, LossSpec, TeacherSpec, TrainSpec
from understudy.training.state import TrainState
from understudy.training.step import RoundData, TargetLogits, TrainContext

NETWORKS = ((64, 1), (64, 4), (192, 2), (384, 2))
"""Width and layers of each side: from the demo's to a size at which multiplications dominate."""
SOURCE, TARGET = 32, 24
BATCHES = (1, 32)
"""Rows of the measured batches."""


@dataclass(frozen=True)
class MeasuredRun:
    """A work that is measured."""

    kind: str
    features: Features
    run: Callable[[], object]


@contextmanager
def measured_work() -> Iterator[list[MeasuredRun]]:
    """What is measured; the networks are there within the context."""
    words = [f"{a}{b}" for a in "bcdfghklmnprst" for b in "aeiou"]
    tokenizer = train_tokenizer([" ".join(words)] * 3, vocab_size=300)
    works: list[MeasuredRun] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for width, layers in NETWORKS:
            scratch = Scratch(
                width=width, encoder_layers=layers, decoder_layers=layers, heads=4, feed_forward=4 * width, dropout=0.1
            )
            network = build_network(scratch, tokenizer, max_positions=SOURCE + TARGET, seed=0).to(default_device())
            for engine in ("ctranslate2", "hf"):
                works += _generations(engine, network, tokenizer, folder, stack)
            works += [_step(network, tokenizer, rows) for rows in BATCHES]
            convert = partial(_convert, network, tokenizer, folder)
            works.append(MeasuredRun("convert", conversion_work(size_of(network.config)), convert))
        yield works


def _generations(
    kind: EngineName,
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    stack: ExitStack,
) -> Iterator[MeasuredRun]:
    """Generations; the engine is closed with the stack. Of ctranslate2, one thread is measured."""
    threads = 1 if kind == "ctranslate2" else None
    engine = stack.enter_context(live_engine(kind, network, tokenizer, workspace=folder, threads=threads))
    for rows in BATCHES:
        sources = [[5 + row % 50] * (SOURCE - 1) + [2] for row in range(rows)]
        run = partial(engine.generate, sources, Greedy(), max_tokens=TARGET)
        lengths = [len(text[0].token_ids) for text in run()]
        work = generation_work(
            size_of(network.config), source_tokens=rows * SOURCE, target_tokens=sum(lengths), calls=max(lengths)
        )
        yield MeasuredRun(kind, work, run)


def _convert(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    with live_engine("ctranslate2", network, tokenizer, workspace=folder):
        pass


def _step(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: int) -> MeasuredRun:
    """An optimizer step on texts of equal length. Its learning rate is 0, so that generation stays as it is."""
    vocab_size, device = len(tokenizer), network.device
    model = TargetLogits(network, vocab_size, resolve_precision("auto"))
    spec = TrainSpec(
        loss=LossSpec(BoundObjective(*objective_of(CrossEntropy())), vocab_size),
        teacher=TeacherSpec(),
        dev=DevScoring(lambda _network: {}, "none", higher_is_better=True),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
    context = TrainContext(model, optimizer, None, spec, Training(), device, tokenizer.pad_token_id or 0)
    sources, targets = (TokenArrays.of([[5] * length for _ in range(rows)]) for length in (SOURCE, TARGET))
    gold = Targets(targets, np.arange(rows + 1))
    data = RoundData(Mixture(sources, {"gold": gold}, {"gold": 1.0}, np.arange(rows)), {"gold": targets})
    items = [TrainItem(row, "gold", (row,)) for row in range(rows)]
    work = training_work(size_of(network.config), source_tokens=rows * SOURCE, target_tokens=rows * TARGET, batches=1)
    return MeasuredRun("train", work, partial(_train_step, context, items, data))


def _train_step(context: TrainContext, items: list[TrainItem], data: RoundData) -> None:
    context.network.train()
    train_step(context, [items], data, TrainState())
    if context.device.type == "cuda":
        torch.cuda.synchronize()
