"""The engine for all models and decodings: `generate` of transformers, with the format of the checkpoint alone.

Axes: B rows of a batch (sources times samples), T positions, V vocabulary.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import ModelOutput

from understudy.config.decoding import Beam, Decoding, DiverseBeam, KBeams, PoolDecoding, Sampling
from understudy.generation.batches import batches_by_length, most_sources, row_memory
from understudy.generation.diverse import DiverseGroups, best_first
from understudy.generation.engine import Capabilities, refuse_decoding, refuse_impossible
from understudy.models.checkpoint import config_of, load_network, without_weights
from understudy.models.forward import padded, target_logits
from understudy.models.generation_format import (
    checkpoint_format,
    end_ids,
    format_of,
    generated_tokens,
    ids_without_token,
    up_to_end,
    without_ids,
)
from understudy.models.tokenizers import load_tokenizer
from understudy.progress import ProgressCallback
from understudy.records import Generated

CAPABILITIES = Capabilities(
    decodings=frozenset({"greedy", "beam", "k_beams", "sampling", "diverse_beam"}),
    families=None,
    logprobs=True,
    dtypes=frozenset({"float32", "bfloat16", "float16"}),
)
_BATCH_TOKENS = 16_384  # rows times longest source; bounds memory, not tuned
_LOGITS_COPIES = 10
"""Vocabulary-sized float32 arrays of a row at a time: logits, scores, their softmax, those sorted, their indices."""


@contextmanager
def open_hf(
    checkpoint: Path, _converted: Path, *, dtype: str, device: str, threads: int | None
) -> Iterator["HuggingFaceEngine"]:
    """The engine of a checkpoint, which is loaded with this dtype to this device."""
    model = load_network(str(checkpoint), dtype=getattr(torch, dtype)).to(device)
    with live_hf(model, load_tokenizer(str(checkpoint)), threads) as engine:
        yield engine


@contextmanager
def live_hf(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, threads: int | None
) -> Iterator["HuggingFaceEngine"]:
    """The engine of a model in memory; torch has so many threads within the context (None: as many as before)."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield HuggingFaceEngine(model, tokenizer)
    finally:
        torch.set_num_threads(before)


class HuggingFaceEngine:
    """Generates texts with a torch model, on its device and in its dtype; it follows the model's weights."""

    name = "hf"

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self._model = model
        self._format = format_of(model.generation_config)
        self._ends = end_ids(self._format, tokenizer.eos_token_id)
        self._pad: int = self._ends[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self._no_token = ids_without_token(model.get_output_embeddings().weight.shape[0], tokenizer)

    def generate(
        self,
        sources: Sequence[Sequence[int]],
        decoding: PoolDecoding,
        *,
        per_source: int = 1,
        max_tokens: int,
        seed: int | None = 0,
        stop_ids: Collection[int] = (),
        progress: ProgressCallback | None = None,
    ) -> list[tuple[Generated, ...]]:
        """See `Engine`. The model is in eval mode meanwhile; torch's global generator does not change."""
        refuse_decoding(self.name, CAPABILITIES, decoding)
        refuse_impossible(decoding, per_source=per_source)
        settings = GenerationConfig(
            **decoding_settings(decoding, per_source=per_source, max_tokens=max_tokens),
            **{
                **self._format.to_diff_dict(),
                "eos_token_id": [*self._ends, *stop_ids],
                "pad_token_id": self._pad,
                "decoder_start_token_id": getattr(self._model.config, "decoder_start_token_id", None),
            },
            return_dict_in_generate=True,
        )
        groups = decoding.groups if isinstance(decoding, DiverseBeam) else 1
        rows = max(per_source, settings.num_beams, groups)
        memory = row_memory(self._model.config, logits_copies=_LOGITS_COPIES)
        most = most_sources(memory, sources, rows_per_source=rows, max_tokens=max_tokens)
        texts: list[tuple[Generated, ...]] = [()] * len(sources)
        devices = [self._model.device] if self._model.device.type == "cuda" else []
        with (
            _evaluating(self._model),
            without_ids(self._model, self._no_token),
            torch.inference_mode(),
            torch.random.fork_rng(devices),
        ):
            torch.seed() if seed is None else torch.manual_seed(seed)
            for batch in batches_by_length(
                sources, rows_per_source=rows, batch_tokens=_BATCH_TOKENS, most_sources=most
            ):
                repeated = [sources[index] for index in batch for _ in range(groups)]
                generated = self._batch(repeated, settings, self._processors(decoding, stop_ids), stop_ids)
                each = len(generated) // len(batch)
                for position, index in enumerate(batch):
                    own = generated[position * each : (position + 1) * each]
                    texts[index] = tuple(best_first(own)[:per_source] if groups > 1 else own)
                if progress:
                    progress(len(batch))
        return texts

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[list[float]]:
        """See `Engine`; the model is in eval mode meanwhile."""
        if not sources:
            return []
        device = self._model.device
        source_ids_SL, source_mask_SL = (part.to(device) for part in padded(sources, pad=self._pad))
        target_ids_BT, target_mask_BT = (part.to(device) for part in padded(targets, pad=self._pad))
        with _evaluating(self._model), torch.inference_mode():
            logits_NV = target_logits(
                self._model,
                source_ids_SL=source_ids_SL,
                source_mask_SL=source_mask_SL,
                source_of_B=torch.arange(len(targets), device=device),
                target_ids_BT=target_ids_BT,
                target_mask_BT=target_mask_BT,
            )
            logprobs_NV = logits_NV.float().log_softmax(dim=-1)
            logprobs = iter(logprobs_NV.gather(1, target_ids_BT[target_mask_BT][:, None]).squeeze(1).tolist())
        return [list(islice(logprobs, len(target))) for target in targets]

    def _processors(self, decoding: PoolDecoding, stop_ids: Collection[int]) -> list[LogitsProcessor]:
        """What changes the distribution of each step beyond the settings."""
        if isinstance(decoding, DiverseBeam):
            return [DiverseGroups(groups=decoding.groups, diversity=decoding.diversity, ends=[*self._ends, *stop_ids])]
        return []

    def _batch(
        self,
        sources: list[Sequence[int]],
        settings: GenerationConfig,
        processors: list[LogitsProcessor],
        stop_ids: Collection[int],
    ) -> list[Generated]:
        # Decoder-only models are padded at the left, so that every text starts at the same step.
        ids, mask = padded(sources, pad=self._pad, left=not self._model.config.is_encoder_decoder)
        ids, mask = ids.to(self._model.device), mask.to(self._model.device, torch.long)
        recorder = _BeamLogProbs(settings.num_beams) if settings.num_beams > 1 else _ChosenLogProbs()
        output = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=LogitsProcessorList([recorder, *processors]),
        )
        start = 1 if self._model.config.is_encoder_decoder else ids.shape[1]
        ids_BT = output.sequences[:, start:]
        logprobs = recorder.finish(ids_BT, output).tolist()
        texts = []
        for row, steps in zip(ids_BT.tolist(), logprobs, strict=True):
            text = up_to_end(row, self._ends, stop_ids)
            texts.append(Generated(text, math.fsum(steps[: generated_tokens(text, stop_ids)])))
        return texts


def decoding_settings(decoding: PoolDecoding, *, per_source: int, max_tokens: int) -> dict[str, Any]:
    """The settings of beam search or sampling for `generate` of transformers, which implements both."""
    beams = decoding.beams if isinstance(decoding, Beam | KBeams) else 1
    settings: dict[str, Any] = {
        "max_new_tokens": max_tokens,
        "num_return_sequences": 1 if isinstance(decoding, DiverseBeam) else per_source,
        "num_beams": beams,
        "do_sample": isinstance(decoding, Sampling),
    }
    if isinstance(decoding, Beam | KBeams) and beams > 1:
        # A beam search ends as in CTranslate2: done when as many texts as beams have ended; without a length penalty,
        # when no unfinished text can score higher.
        settings |= {"length_penalty": decoding.length_penalty, "early_stopping": decoding.length_penalty != 0}
    if isinstance(decoding, Sampling):
        settings |= {"temperature": decoding.temperature, "top_k": decoding.top_k, "top_p": decoding.top_p}
    return settings


def evaluated_settings(checkpoint: Path, decoding: Decoding, *, max_tokens: int) -> GenerationConfig:
    """Settings with which `generate` of transformers alone gives the texts of an engine: format and decoding.

    Args:
        checkpoint: folder of the network; only its config and tokenizer are read.
        decoding: of the evaluation.
        max_tokens: maximum length of a text in tokens.
    """
    own, tokenizer, config = checkpoint_format(checkpoint), load_tokenizer(str(checkpoint)), config_of(str(checkpoint))
    rows = without_weights(config).get_output_embeddings().weight.shape[0]
    start = getattr(config, "decoder_start_token_id", None)
    ends = end_ids(own, tokenizer.eos_token_id)
    no_token = ids_without_token(rows, tokenizer)
    return GenerationConfig(
        **decoding_settings(decoding, per_source=1, max_tokens=max_tokens),
        **{
            **own.to_diff_dict(),
            "eos_token_id": ends if len(ends) > 1 else ends[0],
            "pad_token_id": ends[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
            "decoder_start_token_id": own.decoder_start_token_id if start is None else start,
            # Renormalized, because the engines leave no probability on rows without a token.
            "suppress_tokens": sorted({*(own.suppress_tokens or ()), *no_token}) or None,
            "renormalize_logits": bool(no_token),
        },
    )


class _ChosenLogProbs(LogitsProcessor):  # type: ignore[misc]
    """Records the log-probability of every token chosen greedily or sampled, before truncation of the distribution.

    The chosen token is the last input of the next step, so the distributions of one step are held, not those of
    a whole text.
    """

    def __init__(self) -> None:
        self._logprobs_BV: Tensor | None = None
        self._chosen: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._record(input_ids)
        self._logprobs_BV = scores.float().log_softmax(dim=-1)
        return scores

    def finish(self, ids_BT: Tensor, _output: ModelOutput) -> Tensor:
        """Log-probabilities BT of all generated tokens; those after the end of a text have no meaning."""
        self._record(ids_BT)
        return torch.stack(self._chosen, dim=1)

    def _record(self, ids_BT: Tensor) -> None:
        if self._logprobs_BV is not None:
            self._chosen.append(self._logprobs_BV.gather(1, ids_BT[:, -1:]).squeeze(1))


class _BeamLogProbs(LogitsProcessor):  # type: ignore[misc]
    """Records the best tokens of every beam at every step; those that the beam search continues with are among them."""

    def __init__(self, beams: int) -> None:
        self._kept = 2 * beams
        self._steps: list[torch.return_types.topk] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 - a LogitsProcessor
        self._steps.append(scores.topk(min(self._kept, scores.shape[1])))
        return scores

    def finish(self, ids_BT: Tensor, output: ModelOutput) -> Tensor:
        """Log-probabilities BT, where `beam_indices[b, t]` is the beam that token `ids_BT[b, t]` continued."""
        chosen = []
        for step, (values, ids) in enumerate(self._steps[: ids_BT.shape[1]]):
            parent_B = output.beam_indices[:, step].clamp(min=0)  # -1 after the end of a text
            hit = ids[parent_B] == ids_BT[:, step, None]
            chosen.append(torch.where(hit, values[parent_B], 0.0).sum(dim=1))
        return torch.stack(chosen, dim=1)


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Within the context, no dropout and no generation settings but those that the engine passes."""
    training, own = model.training, model.generation_config
    model.eval()
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.train(training)
        model.generation_config = own
