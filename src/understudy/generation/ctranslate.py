"""The fast engine: the network converted to CTranslate2, on CPU and CUDA.

Conversion is `convert`. CTranslate2 reads and writes tokens by name; here they become ids again.

It has no diverse beams. Greedy and beam search write what `hf` writes, with one exception: k_beams without a length
penalty ends as soon as the best text is sure, so that the others may be worse than those of `hf`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import ctranslate2
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Beam, DiverseBeam, KBeams, PoolDecoding, Sampling
from understudy.generation.convert import convert
from understudy.generation.engine import ProgressCallback, allowed_threads, no_groups, refuse_impossible
from understudy.records import Generated

Runner: TypeAlias = ctranslate2.Translator | ctranslate2.Generator
Pending: TypeAlias = ctranslate2.AsyncTranslationResult | ctranslate2.AsyncGenerationResult

_TOKEN_BUDGET = 1_024  # one thread, 2.3 M parameters: 14 to 33 % faster than 16,384 for all decodings
_LARGE = 50_000_000
"""Parameters from which on several threads share one batch.

Below, they wait for each other more than they work: with 2 threads on 2 busy cores, 64 inputs at once took 6.2 M
parameters 770 instead of 390 ms greedily, and one input 195 instead of 86 ms with 4 beams; at 124 M one input took the
same time greedily.
"""
_PART = 256
"""Sources that are sampled with one seed."""
_PRIME = 1_000_003


class CTranslate2Engine:
    """Draws texts with a copy of the network, frozen when the engine was made."""

    name = "ctranslate2"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        folder: Path,
        *,
        threads: int | None = None,
    ) -> None:
        """Convert the network.

        Args:
            model: of a family that `convert.supported` knows.
            tokenizer: the network's own.
            folder: for the converted files, as long as the engine lives.
            threads: CPU threads; None: `allowed_threads`.
        """
        self._folder = str(folder)
        self._tokens = convert(model, tokenizer, folder)
        self._ids = {token: index for index, token in enumerate(self._tokens)}
        self._encoder_decoder = bool(model.config.is_encoder_decoder)
        self._device = "cuda" if model.device.type == "cuda" else "cpu"
        dtype = str(model.dtype).removeprefix("torch.")
        known = ctranslate2.get_supported_compute_types(self._device)
        self._compute_type = dtype if dtype in known else "float32"
        self._threads = threads or allowed_threads()
        self._large = model.num_parameters() > _LARGE
        self._open_runners: dict[int, Runner] = {}

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
        """As the protocol says; the threads may be any number without a change of the texts."""
        refuse_impossible(decoding, per_source=per_source)
        if isinstance(decoding, DiverseBeam):
            raise no_groups()
        settings = self._settings(decoding, per_source, max_tokens)
        length_penalty = decoding.length_penalty if isinstance(decoding, Beam | KBeams) else 0.0
        texts: list[tuple[Generated, ...]] = [()] * len(sources)
        for index, waiting in self._started(sources, decoding, settings, seed):
            result = waiting.result()
            written = result.hypotheses if self._encoder_decoder else result.sequences
            rows = [tuple(self._ids[token] for token in tokens) for tokens in written]
            texts[index] = tuple(
                Generated(row, score * len(row) ** length_penalty)
                for row, score in zip(rows, result.scores, strict=True)
            )
            if progress:
                progress(1)
        return texts

    def _runner(self, source_tokens: int) -> Runner:
        """Several batches are shared out, a thread each; one batch gets all threads only with a large network."""
        several = self._device == "cpu" and source_tokens > _TOKEN_BUDGET
        workers = self._threads if several else 1
        if workers not in self._open_runners:
            threads = self._threads if self._large and not several else 1
            self._open_runners[workers] = self._open(workers=workers, threads=threads)
        return self._open_runners[workers]

    def _open(self, *, workers: int, threads: int) -> Runner:
        kind = ctranslate2.Translator if self._encoder_decoder else ctranslate2.Generator
        return kind(
            self._folder,
            self._device,
            compute_type=self._compute_type,
            inter_threads=workers,
            intra_threads=threads,
        )

    def _settings(self, decoding: PoolDecoding, per_source: int, max_tokens: int) -> dict[str, object]:
        limits: dict[str, object] = {"max_length": max_tokens, "min_length": 0, "include_prompt_in_result": False}
        if self._encoder_decoder:
            limits = {"max_decoding_length": max_tokens, "min_decoding_length": 0, "max_input_length": 0}
        return {
            **_drawing(decoding, vocabulary=len(self._tokens)),
            **limits,
            "num_hypotheses": per_source,
            "return_scores": True,
            "return_end_token": True,
            "max_batch_size": _TOKEN_BUDGET,
            "batch_type": "tokens",
            "asynchronous": True,
        }

    def _started(
        self, sources: Sequence[Sequence[int]], decoding: PoolDecoding, settings: Mapping[str, object], seed: int
    ) -> Iterator[tuple[int, Pending]]:
        """The index of every source with its result to come; asynchronous, to hear of the progress."""
        groups = self._groups(sources, decoding)
        if not isinstance(decoding, Sampling):
            runner = self._runner(sum(map(len, sources)))
            yield from [pair for group in groups for pair in self._calls(runner, sources, group, settings)]
            return
        for start in range(0, len(groups), self._threads):
            yield from [
                pair
                for number, group in enumerate(groups[start : start + self._threads], start)
                for pair in self._calls(
                    self._seeded((seed * _PRIME + number) % 2**32, settings), sources, group, settings
                )
            ]

    def _seeded(self, seed: int, settings: Mapping[str, object]) -> Runner:
        """A runner of one thread that draws by this seed.

        A seed does not reach the threads of a living runner, only a new one's at its first draw, which is made here:
        the next seed may then be set while this runner is at work.
        """
        ctranslate2.set_random_seed(seed)
        runner = self._open(workers=1, threads=1)
        limit = "max_decoding_length" if self._encoder_decoder else "max_length"
        for _, waiting in self._calls(runner, [[0]], [0], {**settings, limit: 1}):
            waiting.result()
        return runner

    def _calls(
        self, runner: Runner, sources: Sequence[Sequence[int]], group: Sequence[int], settings: Mapping[str, object]
    ) -> list[tuple[int, Pending]]:
        draw = runner.translate_batch if self._encoder_decoder else runner.generate_batch
        tokens = [[self._tokens[token_id] for token_id in sources[index]] for index in group]
        return list(zip(group, draw(tokens, **settings), strict=True))

    def _groups(self, sources: Sequence[Sequence[int]], decoding: PoolDecoding) -> list[list[int]]:
        """Indices of the sources that go into one call.

        Samples: parts of fixed size, each with a seed of its own, so that threads can share the parts out without a
        change of the draws. Beams of decoder-only networks go astray where prompts of different lengths share a
        batch (measured with CTranslate2 4.8.5), so each call has prompts of one length.
        """
        everything = list(range(len(sources)))
        if isinstance(decoding, Sampling):
            return [everything[start : start + _PART] for start in range(0, len(sources), _PART)]
        if self._encoder_decoder or not isinstance(decoding, Beam | KBeams):
            return [everything] if sources else []
        alike: dict[int, list[int]] = {}
        for index, source in enumerate(sources):
            alike.setdefault(len(source), []).append(index)
        return list(alike.values())


def _drawing(decoding: PoolDecoding, *, vocabulary: int) -> dict[str, float]:
    """The library's words for a decoding. Its scores are log-probabilities of the uncut distribution."""
    match decoding:
        case Beam() | KBeams():
            return {"beam_size": decoding.beams, "length_penalty": decoding.length_penalty}
        case Sampling():
            return {
                "beam_size": 1,
                "length_penalty": 0,
                # The library refuses more candidates than there are tokens; 0 is all of them.
                "sampling_topk": decoding.top_k if decoding.top_k < vocabulary else 0,
                "sampling_topp": decoding.top_p,
                "sampling_temperature": decoding.temperature,
            }
        case _:
            return {"beam_size": 1, "length_penalty": 0}
