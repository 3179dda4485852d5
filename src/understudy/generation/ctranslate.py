"""The fast engine: models converted to CTranslate2, on CPU and CUDA.

The conversion is in `convert`. CTranslate2 reads and writes tokens by name, which are converted from and to ids here.

It has no diverse beams. Greedy and beam search generate the texts of `hf`, with one exception: k_beams without a length
penalty ends as soon as the best text is certain, so the other texts may be worse than those of `hf`.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeAlias

import ctranslate2
from transformers import GenerationConfig

from understudy.config.decoding import Beam, KBeams, PoolDecoding, Sampling
from understudy.generation.batches import RowMemory, equal_lengths, most_sources, row_memory, split_batches
from understudy.generation.ctranslate_settings import compute_type, ctranslate2_settings, random_seed, row_name
from understudy.generation.engine import Capabilities, Engine, allowed_threads, refuse_decoding, refuse_impossible
from understudy.generation.hf import open_hf
from understudy.generation.windowed import WindowedEngine
from understudy.generation.workspace import MARKER
from understudy.models.checkpoint import config_of, sliding_window
from understudy.models.families import FAMILIES
from understudy.models.generation_format import checkpoint_format, end_ids, generated_tokens, up_to_end
from understudy.progress import ProgressCallback
from understudy.records import Generated

Runner: TypeAlias = ctranslate2.Translator | ctranslate2.Generator
Pending: TypeAlias = ctranslate2.AsyncTranslationResult | ctranslate2.AsyncGenerationResult

CONVERTED_FAMILIES = frozenset(name for name, family in FAMILIES.items() if family.conversion)
"""Families whose texts a test holds equal to those of transformers."""
CAPABILITIES = Capabilities(
    decodings=frozenset({"greedy", "beam", "k_beams", "sampling"}),
    families=CONVERTED_FAMILIES,
    logprobs=True,
    dtypes=frozenset({"float32", "bfloat16", "float16", "int8"}),
)
_BATCH_TOKENS = 1_024  # one thread, 2.3 M parameters: 14 to 33 % faster than 16,384 for all decodings
_LARGE = 50_000_000
"""Number of parameters from which several threads share one batch.

Below it, threads spend more time waiting than computing: with 2 threads on 2 busy cores, 64 inputs at once took 6.2 M
parameters 770 instead of 390 ms greedily, and one input 195 instead of 86 ms with 4 beams; at 124 M one input took the
same time greedily.
"""
_PART = 256
"""Sources that are sampled with one seed."""
_COPIES_BYTES = 2**33
"""Most weights in float32, 8 GB, of the copies of a model that sample at the same time, one for each seed."""
_LOGITS_COPIES = 6
"""Vocabulary-sized float32 arrays of a row at a time: logits, log-probabilities, those sorted by the truncation.

Measured with Gemma 3 270M: a batch of 64 or 96 rows adds 5.4 to 9.2 MB per row, of which 2.2 are the cache.
"""
_PRIME = 1_000_003


@contextmanager
def open_ctranslate2(
    checkpoint: Path, converted: Path, *, dtype: str, device: str, threads: int | None
) -> Iterator[Engine]:
    """The engine of a conversion; a torch model is loaded only for texts longer than the model's sliding window."""
    config = config_of(str(checkpoint))
    engine = CTranslate2Engine(
        converted,
        checkpoint_format(checkpoint),
        memory=row_memory(config, logits_copies=_LOGITS_COPIES),
        dtype=dtype,
        device=device,
        threads=threads,
    )
    window = sliding_window(config)
    if window is None:
        yield engine
        return

    def exact() -> AbstractContextManager[Engine]:
        own = "float32" if dtype == "int8" else dtype
        return open_hf(checkpoint, converted, dtype=own, device=device, threads=threads)

    with WindowedEngine(engine, window, exact) as windowed:
        yield windowed


class CTranslate2Engine:
    """Generates texts with a converted model."""

    name = "ctranslate2"

    def __init__(
        self,
        folder: Path,
        settings: GenerationConfig | None = None,
        *,
        memory: RowMemory | None = None,
        dtype: str = "float32",
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        """Open a conversion.

        Args:
            folder: holds what `convert` wrote, as long as the engine is used.
            settings: the checkpoint's generation format; None: it has none beyond its end-of-sequence token.
            memory: what a row of a batch needs; None: batches are bounded by their tokens alone.
            dtype: type of weights and computation; float32 where the device does not have it. `int8`: weights and the
                inputs of matrix products in 8 bits, the rest in float32; texts and log-probabilities differ.
            device: `cpu`, `cuda` or `cuda:1`.
            threads: CPU threads; None: `allowed_threads`.

        Raises:
            GenerationError: if the device has no 8-bit matrix products and they are requested.
        """
        facts = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        self._folder = str(folder)
        self._tokens: list[str] = facts["tokens"]
        self._ids = {token: index for index, token in enumerate(self._tokens)}
        end: str = json.loads((folder / "config.json").read_text(encoding="utf-8"))["eos_token"]
        self._format = settings or GenerationConfig()
        self._ends = end_ids(self._format, self._ids[end])
        self._encoder_decoder: bool = facts["is_encoder_decoder"]
        self._parameters: int = facts["parameters"]
        self._memory = memory
        self._device, _, index = device.partition(":")
        self._device_index = int(index or 0)
        self._compute_type = compute_type(dtype, self._device, self._device_index)
        self._threads = threads or allowed_threads()
        self._open_runners: dict[int, Runner] = {}

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
        """See `Engine`. The number of threads does not change the texts."""
        refuse_decoding(self.name, CAPABILITIES, decoding)
        refuse_impossible(decoding, per_source=per_source)
        settings = self.settings(decoding, per_source, max_tokens, stop_ids)
        each = decoding.beams if isinstance(decoding, Beam | KBeams) else per_source
        most = most_sources(self._memory, sources, rows_per_source=each, max_tokens=max_tokens)
        length_penalty = decoding.length_penalty if isinstance(decoding, Beam | KBeams) else 0.0
        texts: list[tuple[Generated, ...]] = [()] * len(sources)
        for index, waiting in self._started(sources, decoding, settings, seed, most):
            result = waiting.result()
            generated = result.hypotheses if self._encoder_decoder else result.sequences
            rows = [up_to_end([self._ids[token] for token in tokens], self._ends, stop_ids) for tokens in generated]
            texts[index] = tuple(
                Generated(row, score * generated_tokens(row, stop_ids) ** length_penalty)
                for row, score in zip(rows, result.scores, strict=True)
            )
            if progress:
                progress(1)
        return texts

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[list[float]]:
        """See `Engine`."""
        runner = self._runner(0)
        sources_T, targets_T = ([[self._tokens[i] for i in row] for row in rows] for rows in (sources, targets))
        if self._encoder_decoder:
            # The library scores an end-of-sequence token after each target, which is not one of the target's.
            scored = runner.score_batch(sources_T, targets_T, max_input_length=0)
            return [list(one.log_probs[: len(target)]) for one, target in zip(scored, targets, strict=True)]
        rows_T = [source + target for source, target in zip(sources_T, targets_T, strict=True)]
        logprobs: list[list[float]] = [[] for _ in targets]
        for group in equal_lengths(rows_T):
            scored = runner.score_batch([rows_T[index] for index in group], max_input_length=0)
            for index, one in zip(group, scored, strict=True):
                logprobs[index] = list(one.log_probs[-len(targets[index]) :])
        return logprobs

    def _runner(self, source_tokens: int) -> Runner:
        """Several batches are distributed, one thread each; one batch uses all threads only if the model is large."""
        several = self._device == "cpu" and source_tokens > _BATCH_TOKENS
        workers = self._threads if several else 1
        if workers not in self._open_runners:
            threads = self._threads if self._parameters > _LARGE and not several else 1
            self._open_runners[workers] = self._open(workers=workers, threads=threads)
        return self._open_runners[workers]

    def _open(self, *, workers: int, threads: int) -> Runner:
        kind = ctranslate2.Translator if self._encoder_decoder else ctranslate2.Generator
        return kind(
            self._folder,
            self._device,
            device_index=self._device_index,
            max_queued_batches=-1,  # with a limit, a call returns only when most of its sources are done
            compute_type=self._compute_type,
            inter_threads=workers,
            intra_threads=threads,
        )

    def settings(
        self, decoding: PoolDecoding, per_source: int, max_tokens: int, stop_ids: Collection[int]
    ) -> dict[str, object]:
        """The library's arguments, but for `target_prefix`."""
        limits: dict[str, object] = {"max_length": max_tokens, "min_length": 0, "include_prompt_in_result": False}
        if self._encoder_decoder:
            limits = {"max_decoding_length": max_tokens, "min_decoding_length": 0, "max_input_length": 0}
        return {
            **ctranslate2_settings(decoding, vocabulary=len(self._tokens)),
            **limits,
            **self._format_settings(stop_ids),
            "num_hypotheses": per_source,
            "return_scores": True,
            "return_end_token": True,
            "max_batch_size": _BATCH_TOKENS,
            "batch_type": "tokens",
            "asynchronous": True,
        }

    def _format_settings(self, stop_ids: Collection[int]) -> dict[str, object]:
        """The ends, and what is never generated: rows without a token, and what the checkpoint forbids."""
        own = self._format
        forbidden = [
            *([token] for row, token in enumerate(self._tokens) if token == row_name(row)),
            *([self._tokens[token_id]] for token_id in own.suppress_tokens or ()),
            *([self._tokens[token_id] for token_id in word] for word in own.bad_words_ids or ()),
        ]
        ends = [self._tokens[token_id] for token_id in (*self._ends, *stop_ids)]
        return {"suppress_sequences": forbidden or None, "end_token": ends}

    def _started(
        self,
        sources: Sequence[Sequence[int]],
        decoding: PoolDecoding,
        settings: Mapping[str, object],
        seed: int | None,
        most: int | None,
    ) -> Iterator[tuple[int, Pending]]:
        """The index of every source with its pending result; asynchronous, so that progress can be reported."""
        if seed is None or not isinstance(decoding, Sampling):
            groups = self._groups(sources, decoding, most)
            runner = self._runner(sum(map(len, sources)))
            yield from [pair for group in groups for pair in self._calls(runner, sources, group, settings)]
            return
        parts = [range(start, min(start + _PART, len(sources))) for start in range(0, len(sources), _PART)]
        copies = max(1, min(self._threads, _COPIES_BYTES // (4 * self._parameters)))
        for start in range(0, len(parts), copies):
            # Kept until their results were read: deleting a runner waits for what it generates.
            runners: list[Runner] = []
            pending: list[tuple[int, Pending]] = []
            for number, part in enumerate(parts[start : start + copies], start):
                seeded = (seed * _PRIME + number) % 2**32
                runners.append(self._seeded(seeded, settings, threads=max(1, self._threads // copies)))
                for group in self._batches(sources, part, most):
                    pending += self._calls(runners[-1], sources, group, settings)
            yield from pending
            runners.clear()

    def _seeded(self, seed: int, settings: Mapping[str, object], *, threads: int) -> Runner:
        """A runner that computes one batch at a time and samples with this seed.

        A new seed does not change the threads of an existing runner, only those of a new one at its first sample,
        which is drawn here: the next seed may then be set while this runner works.
        """
        limit = "max_decoding_length" if self._encoder_decoder else "max_length"
        with random_seed(seed):
            runner = self._open(workers=1, threads=threads)
            for _, waiting in self._calls(runner, [[0]], [0], {**settings, limit: 1}):
                waiting.result()
        return runner

    def _calls(
        self, runner: Runner, sources: Sequence[Sequence[int]], group: Sequence[int], settings: Mapping[str, object]
    ) -> list[tuple[int, Pending]]:
        generate = runner.translate_batch if self._encoder_decoder else runner.generate_batch
        tokens = [[self._tokens[token_id] for token_id in sources[index]] for index in group]
        first = self._format.forced_bos_token_id
        if self._encoder_decoder and first is not None:
            settings = {**settings, "target_prefix": [[self._tokens[first]]] * len(tokens)}
        # The library computes the longest first: waiting in this order, progress is reported as it is made.
        return sorted(
            zip(group, generate(tokens, **settings), strict=True), key=lambda pair: len(sources[pair[0]]), reverse=True
        )

    def _groups(self, sources: Sequence[Sequence[int]], decoding: PoolDecoding, most: int | None) -> list[list[int]]:
        """Indices of the sources that go into one call.

        Beams of decoder-only models are wrong if prompts of different lengths share a batch (measured with
        CTranslate2 4.8.5), so each call has prompts of one length.
        """
        if not sources:
            return []
        beams = not self._encoder_decoder and isinstance(decoding, Beam | KBeams)
        groups = equal_lengths(sources) if beams else [list(range(len(sources)))]
        return [batch for group in groups for batch in self._batches(sources, group, most)]

    def _batches(self, sources: Sequence[Sequence[int]], group: Sequence[int], most: int | None) -> list[list[int]]:
        return split_batches(sources, group, batch_tokens=_BATCH_TOKENS, most_sources=most)
