"""Scores a network on dev while it is trained, to choose the weights that are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from understudy.config.decoding import Decoding, EngineName
from understudy.evaluation.likelihood import likelihood_statistics, top_tokens
from understudy.evaluation.metrics import Metric, SystemOutputs, tally
from understudy.evaluation.tally import FloatArray, IntArray, ratio
from understudy.generation import Engine, live_engine
from understudy.models.forward import target_logits
from understudy.models.generated_text import counted_text, stop_ids
from understudy.models.generation_format import ids_without_token, without_ids
from understudy.models.task_tokenizer import TaskTokenizer
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.records import Example, Generated, Prediction
from understudy.training.spec import DEV_LOSS


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
    with_loss: bool = False
    """Whether the dev loss is computed too, which decides between equal scores."""

    def __call__(self, network: PreTrainedModel) -> dict[str, float]:
        """The score by the metric's name, and the dev loss."""
        predictions = [Prediction(one.id, one.source, one.targets, "") for one in self.examples]
        if self.metric.needs_texts:
            with live_engine(self.engine, network, self.tokenizer.tokenizer, workspace=self.workspace) as engine:
                predictions, _ = predict(engine, self.tokenizer, self.examples, self.decoding)
        likelihood_ND = None
        if self.metric.needs_likelihood:
            likelihood_ND = gold_likelihood(network, self.tokenizer, self.examples)
        scores = {
            self.metric.name: tally(self.metric, SystemOutputs(predictions, likelihood_ND), self.resource).value()
        }
        if self.with_loss and (
            likelihood_ND is not None or (readable := with_positions(self.tokenizer, self.examples))
        ):
            rows_ND = gold_likelihood(network, self.tokenizer, readable) if likelihood_ND is None else likelihood_ND
            scores[DEV_LOSS] = float(ratio(rows_ND.sum(axis=0, keepdims=True))[0])
        return scores


def predict(
    engine: Engine,
    tokenizer: TaskTokenizer,
    examples: Sequence[Example],
    decoding: Decoding,
    *,
    progress: ProgressCallback = NO_PROGRESS,
) -> tuple[list[Prediction], int]:
    """What an engine generates for each example, and how many of the texts were cut at the length limit."""
    sources = tokenizer.encode_sources(examples)
    first = [text.token_ids for text in generated_texts(engine, tokenizer, sources, decoding, progress=progress)]
    predictions = [
        Prediction(example.id, example.source, example.targets, tokenizer.decode(token_ids).strip())
        for example, token_ids in zip(examples, first, strict=True)
    ]
    end = tokenizer.tokenizer.eos_token_id
    return predictions, sum(not token_ids or token_ids[-1] != end for token_ids in first)


def generated_texts(
    engine: Engine,
    tokenizer: TaskTokenizer,
    sources: Sequence[Sequence[int]],
    decoding: Decoding,
    *,
    progress: ProgressCallback = NO_PROGRESS,
) -> list[Generated]:
    """What counts of the text that an engine generates for each source when a system is evaluated."""
    generated = engine.generate(
        sources,
        decoding,
        max_tokens=tokenizer.max_target_tokens,
        stop_ids=stop_ids(tokenizer),
        progress=progress,
    )
    return [counted_text(tokenizer, texts[0]).text for texts in generated]


def with_positions(tokenizer: TaskTokenizer, examples: Sequence[Example]) -> list[Example]:
    """The examples for whose references the network has positions; a reference may be longer than any text."""
    limit = tokenizer.max_positions
    sources = tokenizer.encode_sources(examples)
    return [
        example
        for example, source in zip(examples, sources, strict=True)
        if example.targets
        and all(
            limit is None or tokenizer.needed_positions(len(source), len(target)) <= limit
            for target in tokenizer.encode_targets(example.targets)
        )
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


def gold_top_tokens(network: PreTrainedModel, tokenizer: TaskTokenizer, examples: Sequence[Example]) -> IntArray:
    """The tokens of gold and the network's most probable token at the position of each, (2, P)."""
    owners = [i for i, example in enumerate(examples) for _ in example.targets]
    sources = tokenizer.encode_sources(examples)
    network.eval()
    return top_tokens(
        partial(target_logits, network),
        sources=[sources[i] for i in owners],
        targets=tokenizer.encode_targets([text for example in examples for text in example.targets]),
        vocab_size=len(tokenizer.tokenizer),
        device=network.device,
    )
