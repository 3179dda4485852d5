"""Scoring: dev while a network learns, dev and test once it has learned, and what it costs to run."""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from understudy.config.decoding import Decoding, EngineName
from understudy.config.recipe import Recipe
from understudy.config.task import ForecastTask, MetricName, Task
from understudy.demo.forecast_check import check_bulletin
from understudy.errors import ConfigError
from understudy.evaluation.bertscore import open_encoder
from understudy.evaluation.efficiency import Workload, measure_all
from understudy.evaluation.likelihood import likelihood_rows
from understudy.evaluation.meteor import wordnet
from understudy.evaluation.metrics import METRICS, NOTHING, likelihood_tally, tally
from understudy.evaluation.predictions import read_predictions, write_predictions
from understudy.evaluation.slots import Checker
from understudy.evaluation.tally import FloatArray, Tally
from understudy.generation import open_engine
from understudy.generation.engine import cores
from understudy.models.checkpoint import config_of, load_network
from understudy.models.forward import target_logits
from understudy.pipeline.bench import Bench, device_here
from understudy.pipeline.networks import NETWORK
from understudy.pipeline.readers import Reader
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.records import Example, Prediction, TaskData
from understudy.store import Finished
from understudy.store.disk import write_json
from understudy.store.stages import content_key

NLL = "nll"
THREADS = 1
"""Of a measurement: with two, a small network answered one input in 134 ms instead of 6."""
SCORED = ("dev", "test")


def dev_scorer(
    bench: Bench, reader: Reader, dev: Sequence[Example]
) -> tuple[Callable[[PreTrainedModel], dict[str, float]], bool]:
    """A function that scores a network on dev by the primary metric, and whether higher is better."""
    recipe = bench.recipe
    metric, examples = recipe.task.primary_metric, dev[: recipe.evaluation.dev_inputs]
    if metric == NLL:
        return (lambda network: {NLL: _nats_per_token(network, reader, examples)}), False
    write = partial(
        predict,
        reader=reader,
        examples=examples,
        engine=recipe.engine,
        decoding=recipe.evaluation.dev_decoding,
        max_tokens=recipe.task.max_target_tokens,
    )
    return (lambda network: {metric: tally_texts(metric, write(network), recipe.task).value()}), METRICS[
        metric
    ].higher_is_better


def predict(
    network: PreTrainedModel,
    *,
    reader: Reader,
    examples: Sequence[Example],
    engine: EngineName,
    decoding: Decoding,
    max_tokens: int,
    advance: ProgressCallback = NO_PROGRESS,
) -> list[Prediction]:
    """What the network writes for each example."""
    with open_engine(engine, network, reader.tokenizer) as opened:
        written = opened.generate(reader.sources(examples), decoding, max_tokens=max_tokens, progress=advance)
    return [
        Prediction(example.id, example.source, example.targets, reader.text(texts[0].token_ids).strip())
        for example, texts in zip(examples, written, strict=True)
    ]


def likelihood(network: PreTrainedModel, reader: Reader, examples: Sequence[Example]) -> FloatArray:
    """What gold costs the network in nats, and its tokens, (N, 2); an example's references are one row together."""
    owners = [i for i, example in enumerate(examples) for _ in example.targets]
    sources = reader.sources(examples)
    network.eval()
    with torch.no_grad():
        pairs_ND = likelihood_rows(
            partial(target_logits, network),
            ids=[examples[i].id for i in owners],
            sources=[sources[i] for i in owners],
            targets=reader.targets([text for example in examples for text in example.targets]),
            device=network.device,
        )
    rows_ND = np.zeros((len(examples), pairs_ND.shape[1]))
    np.add.at(rows_ND, owners, pairs_ND)
    return rows_ND


def _nats_per_token(network: PreTrainedModel, reader: Reader, examples: Sequence[Example]) -> float:
    nats, tokens = likelihood(network, reader, examples).sum(axis=0)
    return float(nats / tokens)


def make_answers(bench: Bench, name: str, system: Finished, reader: Reader, data: TaskData) -> Finished:
    """The stage of what a system writes for dev and test, and how likely it finds their gold."""
    recipe = bench.recipe
    settings = {
        "evaluation": recipe.evaluation.model_dump(include={"decoding"}),
        "engine": recipe.engine,
        "nll": NLL in recipe.task.metrics,
        "max_tokens": recipe.task.max_target_tokens,
        "prompt": recipe.task.prompt,
        # A system is known by what it learned, not by what it is asked.
        "asked": content_key([[(one.id, one.source, one.targets) for one in getattr(data, split)] for split in SCORED]),
    }

    def work(folder: Path) -> Mapping[str, object]:
        network = load_network(str(system.folder / NETWORK)).to(device_here())
        for split in SCORED:
            examples = getattr(data, split)
            with bench.progress.track(f"{name} answers {split}", len(examples), "input") as advance:
                predictions = predict(
                    network,
                    reader=reader,
                    examples=examples,
                    engine=recipe.engine,
                    decoding=recipe.evaluation.decoding,
                    max_tokens=recipe.task.max_target_tokens,
                    advance=advance,
                )
            write_predictions(folder / f"{split}.jsonl", predictions)
            if NLL in recipe.task.metrics:
                np.save(folder / f"{split}-nll.npy", likelihood(network, reader, examples))
        return {}

    return bench.store.stage(f"answers_{name}", settings=settings, inputs={"system": system}, work=work)


def answers_of(stage: Finished, split: str) -> list[Prediction]:
    """What the system wrote for a split."""
    return read_predictions(stage.folder / f"{split}.jsonl")


def tally_texts(
    metric: MetricName, predictions: Sequence[Prediction], task: Task, fields: Mapping[str, str] = NOTHING
) -> Tally:
    """Predictions under a metric that reads texts, with whatever the task knows that the metric needs."""
    asked = task.bertscore if metric == "bertscore" else None
    encoder = open_encoder(asked.model, asked.layer) if asked else None
    return tally(metric, predictions, checker=checker_of(task), encoder=encoder, fields=fields)


def fields_of(recipe: Recipe, data: Finished, split: str, *, answers: Finished | None = None) -> dict[str, str]:
    """What a signature says of texts: whose answers to what, and how the answers of `answers` were drawn.

    An endpoint answers as it writes; how outputs that somebody brought were drawn, nobody knows.
    """
    said = {"task": recipe.name, "data": data.key[:8]}
    if answers:
        bought = answers.manifest.stage == "bought"
        said["decoding"] = (recipe.pseudo_targets if bought else recipe.evaluation).decoding.kind
    return {**said, "split": split}


def can_tell(stage: Finished, metric: MetricName, split: str) -> bool:
    """Whether a system's answers can be scored: how likely it finds gold, a teacher behind an endpoint does not say."""
    return metric != NLL or (stage.folder / f"{split}-nll.npy").exists()


def tally_of(stage: Finished, metric: MetricName, split: str, task: Task, fields: Mapping[str, str]) -> Tally:
    """A system's statistics under a metric, from what its answers stage holds."""
    predictions = answers_of(stage, split)
    if metric != NLL:
        return tally_texts(metric, predictions, task, fields)
    rows_ND: FloatArray = np.load(stage.folder / f"{split}-nll.npy")
    return likelihood_tally(predictions, rows_ND, fields=fields)


def make_efficiency(
    bench: Bench, systems: Mapping[str, Finished], readers: Mapping[str, Reader], data: TaskData
) -> Finished:
    """The stage of what the systems cost to run, measured in turn on the task's real inputs."""
    recipe = bench.recipe
    device = device_here()
    chosen = data.test[: max(recipe.evaluation.latency_inputs, recipe.evaluation.batch_inputs * 4)]

    def work(folder: Path) -> Mapping[str, object]:
        workloads = {name: _workload(recipe, reader.sources(chosen), device) for name, reader in readers.items()}
        folders = {name: stage.folder / NETWORK for name, stage in systems.items()}
        rounds = recipe.evaluation.repeats
        with bench.progress.track("latency, throughput, memory", rounds * len(folders), "system") as advance:
            measured = measure_all(folders, workloads, rounds=rounds, advance=advance)
        facts = {name: asdict(own) for name, own in measured.items()}
        write_json(folder / "efficiency.json", facts)
        return facts

    settings = {
        "evaluation": recipe.evaluation.model_dump(include={"decoding", "latency_inputs", "batch_inputs", "repeats"}),
        "engine": recipe.engine,
        "max_tokens": recipe.task.max_target_tokens,
        # The cost of another machine is another result.
        "machine": [platform.machine(), device, cores(), THREADS],
    }
    return bench.store.stage("efficiency", settings=settings, inputs=systems, work=work)


def _workload(recipe: Recipe, sources: Sequence[Sequence[int]], device: str) -> Workload:
    return Workload(
        sources=tuple(map(tuple, sources)),
        decoding=recipe.evaluation.decoding,
        max_tokens=recipe.task.max_target_tokens,
        engine=recipe.engine,
        batch_size=recipe.evaluation.batch_inputs,
        latency_inputs=recipe.evaluation.latency_inputs,
        threads=THREADS,
        device=device,
    )


def checker_of(task: Task) -> Checker | None:
    """The task's checker of facts, where it has one.

    Raises:
        ConfigError: if the metrics ask for one and there is none.
    """
    checker = check_bulletin if isinstance(task, ForecastTask) else None
    if checker is None and "slot_error_rate" in task.metrics:
        raise ConfigError(
            "task.metrics asks for slot_error_rate, which needs a checker of facts, and only task.forecast has one; "
            "take it out of task.metrics"
        )
    return checker


def refuse_unscorable(task: Task) -> None:
    """Lets pass only metrics for which everything is at hand, before hours are spent on what they would score.

    Raises:
        ConfigError: as `checker_of`.
        EvaluationError: if WordNet is not on this machine.
        ModelError: if there is no such encoder.
    """
    checker_of(task)
    if "meteor" in task.metrics:
        wordnet()
    if "bertscore" in task.metrics and task.bertscore:
        config_of(task.bertscore.model)


@contextmanager
def few_threads() -> Iterator[None]:
    """Within, torch has as few threads as every measurement of cost."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)
