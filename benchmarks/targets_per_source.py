"""What several targets of one source in a step save, and whether the student is as good.

    python benchmarks/targets_per_source.py passes     # forward and backward passes, two architectures
    python benchmarks/targets_per_source.py steps      # whole training steps, 1 target per source against auto
    python benchmarks/targets_per_source.py quality    # dev loss after equally many targets, embedded task

Networks have random weights and are small; times are processor seconds of one thread, medians of interleaved
repetitions, so that other work on the machine slows all variants alike.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from understudy.columns import Examples
from understudy.config.model_sections import Scratch
from understudy.config.training import Training
from understudy.demo.forecast import bulletins, draw_splits
from understudy.models.forward import shared_source_logits, target_logits
from understudy.models.scratch import build_network
from understudy.models.task_tokenizer import TaskTokenizer
from understudy.models.tokenizers import train_tokenizer
from understudy.objectives import OBJECTIVES
from understudy.pool.token_arrays import Targets, TokenArrays
from understudy.progress import NO_PROGRESS
from understudy.records import Example
from understudy.training.dev_scoring import gold_likelihood
from understudy.training.loop import train, train_step
from understudy.training.mixture import Mixture
from understudy.training.rounds import no_student_samples, prepare_round
from understudy.training.spec import DEV_LOSS, BoundObjective, DevScoring, LossSpec, TeacherSpec, TrainSpec
from understudy.training.state import TrainState
from understudy.training.step import TargetLogits, TrainContext
from understudy.training.targets_per_source import described, with_targets_per_source

PAD, START, END, ORDINARY = 0, 1, 2, 4


def llama(width: int, layers: int, vocabulary: int) -> PreTrainedModel:
    """A decoder-only network."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary, hidden_size=width, num_hidden_layers=layers, intermediate_size=4 * width,
            num_attention_heads=4, num_key_value_heads=4, pad_token_id=PAD,
        )
    )  # fmt: skip


def bart(width: int, layers: int, vocabulary: int) -> PreTrainedModel:
    """An encoder-decoder with so many layers on each side."""
    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=vocabulary, d_model=width, encoder_layers=layers, decoder_layers=layers,
            encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width,
            pad_token_id=PAD, bos_token_id=START, eos_token_id=END, decoder_start_token_id=START,
        )
    )  # fmt: skip


ARCHITECTURES = {"llama": llama, "bart": bart}
Read = Callable[..., Tensor]


def batch_of(targets: int, k: int, source: int, target: int, vocabulary: int) -> dict[str, Tensor]:
    """A micro-batch of so many targets, k of each source, all of equal length."""
    sources = targets // k
    return {
        "source_ids_SL": torch.randint(ORDINARY, vocabulary, (sources, source)),
        "source_mask_SL": torch.ones(sources, source, dtype=torch.bool),
        "source_of_B": torch.arange(sources).repeat_interleave(k),
        "target_ids_BT": torch.randint(ORDINARY, vocabulary, (targets, target)),
        "target_mask_BT": torch.ones(targets, target, dtype=torch.bool),
    }


def seconds_of_pass(model: PreTrainedModel, read: Read, inputs: Mapping[str, Tensor]) -> float:
    """Processor seconds of one forward and one backward pass."""
    started = time.process_time()
    logits_NV = read(model, **inputs)
    labels_N = inputs["target_ids_BT"][inputs["target_mask_BT"]]
    torch.autograd.backward(nn.functional.cross_entropy(logits_NV.float(), labels_N, reduction="sum"))
    model.zero_grad()
    return time.process_time() - started


def measure_passes(wanted: argparse.Namespace) -> None:
    """Milliseconds for each target by architecture, length of sources and targets per source."""
    for name in wanted.architectures:
        model = ARCHITECTURES[name](wanted.width, wanted.layers, wanted.vocabulary).train()
        size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        print(f"{name}, {size:.1f} M parameters, targets of {wanted.target} tokens, {wanted.targets} in a batch")
        print("source  k  ms per target: 1 per source, k per source, ratio; ratio of padded tokens")
        for source in wanted.sources:
            batches = {k: batch_of(wanted.targets, k, source, wanted.target, wanted.vocabulary) for k in wanted.numbers}
            single = batch_of(wanted.targets, 1, source, wanted.target, wanted.vocabulary)
            times: dict[int, list[float]] = {0: [], **{k: [] for k in batches}}
            for _ in range(wanted.repeats + 1):
                times[0].append(seconds_of_pass(model, target_logits, single))
                for k, inputs in batches.items():
                    times[k].append(seconds_of_pass(model, shared_source_logits, inputs))
            alone, *shared = (1e3 * statistics.median(own[1:]) / wanted.targets for own in times.values())
            for k, own in zip(batches, shared, strict=True):
                padded = (source + wanted.target) / (source / k + wanted.target)
                print(f"{source:6} {k:2} {alone:14.1f} {own:8.1f} {alone / own:7.2f} {padded:15.2f}", flush=True)


def synthetic(inputs: int, source: int, target: int, vocabulary: int) -> Mixture:
    """Inputs of one length with four teacher texts of one length each."""
    rng = np.random.default_rng(0)
    sources = rng.integers(ORDINARY, vocabulary, (inputs, source)).tolist()
    texts = rng.integers(ORDINARY, vocabulary, (inputs, 4, target)).tolist()
    return mixture_of(TokenArrays.of(sources), Targets.of(texts))


def mixture_of(sources: TokenArrays, texts: Targets) -> Mixture:
    """The teacher's texts alone."""
    inputs = np.arange(len(sources))
    return Mixture(sources, {"gold": Targets.of([[]] * len(inputs)), "teacher": texts}, {"teacher": 1.0}, inputs)


def spec_of(network: PreTrainedModel, score_dev: Callable[[PreTrainedModel], Mapping[str, float]]) -> TrainSpec:
    """Cross-entropy; the dev loss is the score."""
    loss = LossSpec(BoundObjective(OBJECTIVES["cross_entropy"]), network.config.vocab_size)
    return TrainSpec(loss, TeacherSpec(), DevScoring(score_dev, DEV_LOSS, higher_is_better=False))


def seconds_of_epoch(model: PreTrainedModel, mixture: Mixture, settings: Training) -> tuple[float, int]:
    """Processor seconds of the optimizer steps of one epoch, and its targets."""
    logits = TargetLogits(model, model.config.vocab_size, "float32")
    spec, device = spec_of(model, lambda _network: {DEV_LOSS: 0.0}), torch.device("cpu")
    context = TrainContext(logits, torch.optim.AdamW(model.parameters()), None, spec, settings, device, PAD)
    state = TrainState()
    batches, data = prepare_round(context, mixture, state, seed=0, sample_student=no_student_samples, previous=None)
    started = time.process_time()
    for items in batches:
        train_step(context, [items], data, state)
    return time.process_time() - started, sum(len(item.rows) for items in batches for item in items)


def measure_steps(wanted: argparse.Namespace) -> None:
    """Seconds for 1,000 targets of whole training steps, by architecture and length of sources."""
    settings = Training(batch_tokens=wanted.batch_tokens)
    for name in wanted.architectures:
        model = ARCHITECTURES[name](wanted.width, wanted.layers, wanted.vocabulary)
        print(f"{name}: source, seconds for 1,000 targets with 1 per source and with auto, ratio")
        for source in wanted.sources:
            single = synthetic(wanted.inputs, source, wanted.target, wanted.vocabulary)
            mixtures = (single, with_targets_per_source(single, "auto", epochs=8))
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(wanted.repeats + 1):
                for mixture, own in zip(mixtures, times, strict=True):
                    seconds, targets = seconds_of_epoch(model, mixture, settings)
                    own.append(1000 * seconds / targets)
            one, auto = (statistics.median(own[1:]) for own in times)
            print(f"{source:6} {one:8.2f} {auto:8.2f} {one / auto:6.2f}   {described(mixtures[1])}", flush=True)


def forecast_mixture(architecture: str, inputs: int, dev: int) -> tuple[Mixture, TaskTokenizer, list[Example]]:
    """Forecasts with four bulletins each as the teacher's texts, their tokenizer, and dev."""
    splits = draw_splits({"labeled": 0, "unlabeled": inputs, "dev": dev, "test": 0}, 1)
    train_texts = {source: bulletins(forecast, 4, 1) for source, forecast in splits["unlabeled"].items()}
    tokenizer = train_tokenizer(
        [*train_texts, *(text for own in train_texts.values() for text in own)], vocab_size=1000
    )
    reads = TaskTokenizer(tokenizer, architecture == "bart", "{source}", 96, 96)
    sources = Examples.of([Example(str(number), source) for number, source in enumerate(train_texts)])
    texts = [reads.encode_targets(list(own)) for own in train_texts.values()]
    mixture = mixture_of(TokenArrays.of(reads.encode_sources(sources)), Targets.of(texts))
    held_out = [Example(source, source, bulletins(forecast, 3, 1)) for source, forecast in splits["dev"].items()]
    return mixture, reads, held_out


def dev_loss(
    mixture: Mixture,
    reads: TaskTokenizer,
    dev: Sequence[Example],
    wanted: argparse.Namespace,
    *,
    epochs: int,
    seed: int,
) -> tuple[float, int, float]:
    """The loss on dev after training, the steps, and processor seconds."""

    def score(network: PreTrainedModel) -> dict[str, float]:
        rows_ND = gold_likelihood(network, reads, dev)
        return {DEV_LOSS: float(rows_ND[:, 0].sum() / rows_ND[:, 1].sum())}

    sizes = Scratch(
        architecture=wanted.architecture, width=wanted.width, heads=4, feed_forward=4 * wanted.width, dropout=0.1,
        encoder_layers=wanted.layers if wanted.architecture == "bart" else 0, decoder_layers=wanted.layers,
    )  # fmt: skip
    network = build_network(sizes, reads.tokenizer, max_positions=192, seed=seed)
    settings = Training(
        learning_rate=5e-3, epochs=epochs, batch_tokens=wanted.batch_tokens, warmup_steps=50, evaluate_every=epochs,
        keep_weights="last",
    )  # fmt: skip
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        state = train(
            network, mixture, spec_of(network, score), settings=settings, seed=seed, precision="float32",
            device=torch.device("cpu"), pad=reads.pad_id, folder=Path(folder), progress=NO_PROGRESS,
        )  # fmt: skip
    return state.history[-1][DEV_LOSS], state.step, time.process_time() - started


def measure_quality(wanted: argparse.Namespace) -> None:
    """Dev loss in nats per token after equally many targets, by targets per source and seed."""
    single, reads, dev = forecast_mixture(wanted.architecture, wanted.inputs, wanted.dev)
    auto = with_targets_per_source(single, "auto", epochs=wanted.epochs)
    print(f"{wanted.architecture}, {wanted.inputs} inputs, {wanted.epochs} epochs; {described(auto)}")
    variants: dict[str, tuple[Mixture, int]] = {
        f"{k} per source": (replace(auto, targets_per_source=k) if k > 1 else single, wanted.epochs)
        for k in wanted.numbers
    }
    for name, (mixture, epochs) in variants.items():
        for seed in range(wanted.seeds):
            loss, steps, seconds = dev_loss(mixture, reads, dev, wanted, epochs=epochs, seed=seed)
            print(f"{name} seed {seed}: dev loss {loss:.4f}, {steps} steps, {seconds:.0f} s", flush=True)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Several targets per source.")
    parts = parser.add_subparsers(dest="part")
    passes, steps, quality = (parts.add_parser(name) for name in MEASURES)
    for own in (passes, steps):
        own.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
        own.add_argument("--width", type=int, default=256)
        own.add_argument("--layers", type=int, default=4)
        own.add_argument("--vocabulary", type=int, default=4000)
        own.add_argument("--target", type=int, default=32, help="tokens of a target")
        own.add_argument("--sources", nargs="+", type=int, default=[8, 16, 32, 64, 128, 512], help="tokens of a source")
        own.add_argument("--repeats", type=int, default=5)
    passes.add_argument("--targets", type=int, default=8, help="in a micro-batch")
    passes.add_argument("--numbers", nargs="+", type=int, default=[1, 2, 4, 8], help="targets per source")
    steps.add_argument("--inputs", type=int, default=32, help="of an epoch")
    steps.add_argument("--batch_tokens", type=int, default=2500)
    quality.add_argument("--architecture", choices=("bart", "llama"), default="bart")
    quality.add_argument("--numbers", nargs="+", type=int, default=[1, 2, 4], help="targets per source, by auto's plan")
    quality.add_argument("--width", type=int, default=64)
    quality.add_argument("--layers", type=int, default=1, help="on each side")
    quality.add_argument("--inputs", type=int, default=1000)
    quality.add_argument("--dev", type=int, default=100)
    quality.add_argument("--epochs", type=int, default=8)
    quality.add_argument("--seeds", type=int, default=2)
    quality.add_argument("--batch_tokens", type=int, default=2500)
    return parser.parse_args(given)


MEASURES = {"passes": measure_passes, "steps": measure_steps, "quality": measure_quality}


def main() -> None:
    """Runs the chosen part, or all."""
    wanted = arguments()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for part in [wanted.part] if wanted.part else MEASURES:
        MEASURES[part](wanted if wanted.part else arguments([part]))


if __name__ == "__main__":
    main()
