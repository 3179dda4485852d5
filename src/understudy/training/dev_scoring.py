"""Scores a network on dev while it is trained, to choose the weights that are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from understudy.config.decoding import Decoding, EngineName
from understudy.evaluation.likelihood import likelihood_statistics
from understudy.evaluation.metrics import Metric, SystemOutputs, tally
from understudy.evaluation.tally import FloatArray
from understudy.generation import Engine, live_engine
from understudy.models.forward import target_logits
from understudy.models.generation_format import ids_without_token, without_ids
from understudy.models.task_tokenizer import TaskTokenizer
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.records import Example, Prediction


@dataclass(frozen=True)
class DevScorer:
    """Scores a network by one metric; called by the loop."""

    metric: Metric
    resource: object
    """What the metric's `prepare` returned."""
    tokenizer: TaskTokenizer
    examples: Sequence[Example]
    engine: EngineName
    decoding: Decoding
    workspace: Path
    """For the weights of the moment, where the engine reads them from disk."""

    def __call__(self, network: PreTrainedModel) -> dict[str, float]:
        """The score by the metric's name."""
        predictions = [Prediction(one.id, one.source, one.targets, "") for one in self.examples]
        if self.metric.needs_texts:
            with live_engine(self.engine, network, self.tokenizer.tokenizer, workspace=self.workspace) as engine:
                predictions = predict(engine, self.tokenizer, self.examples, self.decoding)
        likelihood_ND = None
        if self.metric.needs_likelihood:
            likelihood_ND = gold_likelihood(network, self.tokenizer, self.examples)
        outputs = SystemOutputs(predictions, likelihood_ND)
        return {self.metric.name: tally(self.metric, outputs, self.resource, fields={}).value()}


def predict(
    engine: Engine,
    tokenizer: TaskTokenizer,
    examples: Sequence[Example],
    decoding: Decoding,
    *,
    progress: ProgressCallback = NO_PROGRESS,
) -> list[Prediction]:
    """What an engine generates for each example."""
    generated = engine.generate(
        tokenizer.encode_sources(examples), decoding, max_tokens=tokenizer.max_target_tokens, progress=progress
    )
    return [
        Prediction(example.id, example.source, example.targets, tokenizer.decode(texts[0].token_ids).strip())
        for example, texts in zip(examples, generated, strict=True)
    ]


def gold_likelihood(network: PreTrainedModel, tokenizer: TaskTokenizer, examples: Sequence[Example]) -> FloatArray:
    """The negative log-likelihood of gold in nats and its tokens, (N, 2); the references of an example are one row."""
    owners = [i for i, example in enumerate(examples) for _ in example.targets]
    sources = tokenizer.encode_sources(examples)
    network.eval()
    unused = ids_without_token(network.get_output_embeddings().weight.shape[0], tokenizer.tokenizer)
    with torch.no_grad(), without_ids(network, unused):
        pairs_ND = likelihood_statistics(
            partial(target_logits, network),
            ids=[examples[i].id for i in owners],
            sources=[sources[i] for i in owners],
            targets=tokenizer.encode_targets([text for example in examples for text in example.targets]),
            device=network.device,
        )
    rows_ND = np.zeros((len(examples), pairs_ND.shape[1]))
    np.add.at(rows_ND, owners, pairs_ND)
    return rows_ND
