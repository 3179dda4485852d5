"""The engine that always works: `generate` of transformers, freed of every default a checkpoint brings.

Axes: B rows of a batch (sources times samples), T positions, V vocabulary.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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

from understudy.config.decoding import Beam, DiverseBeam, KBeams, PoolDecoding, Sampling
from understudy.generation.diverse import ShunEarlierGroups, best_first
from understudy.generation.engine import ProgressCallback, batches_by_length, refuse_impossible
from understudy.records import Generated

_TOKEN_BUDGET = 16_384  # rows times longest source; bounds memory, not tuned


class HuggingFaceEngine:
    """Draws texts with the live network, on its device and in its type."""

    name = "hf"

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self._model = model
        self._end: int = tokenizer.eos_token_id
        self._pad: int = self._end if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def generate(
        self,
        sources: Sequence[Sequence[int]],
        decoding: PoolDecoding,
        *,
        per_source: int = 1,
        max_tokens: int,
        seed: int = 0,
        progress: ProgressCallback | None = None,
    ) -> list[tuple[Generated, ...]]:
        """As the protocol says. The network is in eval mode meanwhile, torch's global generator untouched."""
        refuse_impossible(decoding, per_source=per_source)
        settings = self._settings(decoding, per_source=per_source, max_tokens=max_tokens)
        groups = decoding.groups if isinstance(decoding, DiverseBeam) else 1
        rows = max(per_source, settings.num_beams, groups)
        texts: list[tuple[Generated, ...]] = [()] * len(sources)
        devices = [self._model.device] if self._model.device.type == "cuda" else []
        with _evaluating(self._model), torch.inference_mode(), torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            for batch in batches_by_length(sources, rows_per_source=rows, token_budget=_TOKEN_BUDGET):
                repeated = [sources[index] for index in batch for _ in range(groups)]
                written = self._batch(repeated, settings, self._bend(decoding))
                each = len(written) // len(batch)
                for place, index in enumerate(batch):
                    own = written[place * each : (place + 1) * each]
                    texts[index] = tuple(best_first(own)[:per_source] if groups > 1 else own)
                if progress:
                    progress(len(batch))
        return texts

    def _bend(self, decoding: PoolDecoding) -> list[LogitsProcessor]:
        """What changes the distribution of each step beyond the settings."""
        if isinstance(decoding, DiverseBeam):
            return [ShunEarlierGroups(groups=decoding.groups, diversity=decoding.diversity, end=self._end)]
        return []

    def _settings(self, decoding: PoolDecoding, *, per_source: int, max_tokens: int) -> GenerationConfig:
        beams = decoding.beams if isinstance(decoding, Beam | KBeams) else 1
        settings = GenerationConfig(
            max_new_tokens=max_tokens,
            num_return_sequences=1 if isinstance(decoding, DiverseBeam) else per_source,
            num_beams=beams,
            do_sample=isinstance(decoding, Sampling),
            eos_token_id=self._end,
            pad_token_id=self._pad,
            decoder_start_token_id=getattr(self._model.config, "decoder_start_token_id", None),
            return_dict_in_generate=True,
        )
        if isinstance(decoding, Beam | KBeams) and beams > 1:
            settings.length_penalty = decoding.length_penalty
            # As CTranslate2: done when as many texts as beams have ended; without a length penalty, when
            # nothing that still runs can beat them.
            settings.early_stopping = decoding.length_penalty != 0
        if isinstance(decoding, Sampling):
            settings.temperature = decoding.temperature
            settings.top_k = decoding.top_k
            settings.top_p = decoding.top_p
        return settings

    def _batch(
        self, sources: list[Sequence[int]], settings: GenerationConfig, bend: list[LogitsProcessor]
    ) -> list[Generated]:
        ids, mask = self._padded(sources)
        notes = _BeamLogProbs(settings.num_beams) if settings.num_beams > 1 else _ChosenLogProbs()
        output = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=LogitsProcessorList([notes, *bend]),
        )
        start = 1 if self._model.config.is_encoder_decoder else ids.shape[1]
        written_BT = output.sequences[:, start:]
        logprobs = notes.finish(written_BT, output).tolist()
        texts = []
        for row, steps in zip(written_BT.tolist(), logprobs, strict=True):
            length = row.index(self._end) + 1 if self._end in row else len(row)
            texts.append(Generated(tuple(row[:length]), math.fsum(steps[:length])))
        return texts

    def _padded(self, sources: list[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Ids and mask; decoder-only rows are padded at the left, so that every text starts at one step."""
        width = max(map(len, sources))
        left = not self._model.config.is_encoder_decoder
        ids = torch.full((len(sources), width), self._pad)
        mask = torch.zeros_like(ids)
        for row, source in enumerate(sources):
            place = slice(width - len(source), width) if left else slice(len(source))
            ids[row, place] = torch.tensor(source)
            mask[row, place] = 1
        return ids.to(self._model.device), mask.to(self._model.device)


class _ChosenLogProbs(LogitsProcessor):  # type: ignore[misc]
    """Notes the log-probability of every token chosen greedily or drawn, before the distribution is cut.

    The choice is seen one step later, as the last input, so that one step's distributions are held
    and not a whole text's.
    """

    def __init__(self) -> None:
        self._logprobs_BV: Tensor | None = None
        self._chosen: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._note(input_ids)
        self._logprobs_BV = scores.float().log_softmax(dim=-1)
        return scores

    def finish(self, written_BT: Tensor, _output: ModelOutput) -> Tensor:
        """Log-probabilities BT of all written tokens; what follows the end of a text means nothing."""
        self._note(written_BT)
        return torch.stack(self._chosen, dim=1)

    def _note(self, ids_BT: Tensor) -> None:
        if self._logprobs_BV is not None:
            self._chosen.append(self._logprobs_BV.gather(1, ids_BT[:, -1:]).squeeze(1))


class _BeamLogProbs(LogitsProcessor):  # type: ignore[misc]
    """Notes the best tokens of every beam at every step: those a beam search goes on with are among them."""

    def __init__(self, beams: int) -> None:
        self._kept = 2 * beams
        self._steps: list[torch.return_types.topk] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002 - a LogitsProcessor
        self._steps.append(scores.topk(min(self._kept, scores.shape[1])))
        return scores

    def finish(self, written_BT: Tensor, output: ModelOutput) -> Tensor:
        """Log-probabilities BT, where `beam_indices[b, t]` is the beam that token `written_BT[b, t]` continued."""
        chosen = []
        for step, (values, ids) in enumerate(self._steps[: written_BT.shape[1]]):
            parent_B = output.beam_indices[:, step].clamp(min=0)  # -1 after the end of a text
            hit = ids[parent_B] == written_BT[:, step, None]
            chosen.append(torch.where(hit, values[parent_B], 0.0).sum(dim=1))
        return torch.stack(chosen, dim=1)


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Within, no dropout and none of the checkpoint's own generation settings (forced tokens, penalties)."""
    training, own = model.training, model.generation_config
    model.eval()
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.train(training)
        model.generation_config = own
