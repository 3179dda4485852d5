"""The engine for decoder-only models on GPUs: vLLM (the extra `vllm`).

It batches continuously, and samples of one source share the keys and values of its prompt. Token ids in, token ids out:
vLLM opens no tokenizer. It has no beams: its own beam search sends a request for each token of each beam and knows no
stop ids. `vllm` is imported when a checkpoint is opened.

What is said here of vLLM was read in the sources of 0.33.0. It has not been run on a GPU yet.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PretrainedConfig

from understudy.config.decoding import PoolDecoding, Sampling
from understudy.errors import GenerationError, first_line
from understudy.generation.engine import Capabilities, refuse_decoding, refuse_impossible
from understudy.generation.vllm_settings import (
    MEMORY_VARIABLE,
    forbidden_ids,
    inside,
    memory_share,
    refuse_temperature,
    request_seeds,
    vllm_variables,
)
from understudy.models.checkpoint import config_of
from understudy.models.families import FAMILIES
from understudy.models.generation_format import checkpoint_format, end_ids, ids_without_token, up_to_end
from understudy.models.tokenizers import load_tokenizer
from understudy.progress import ProgressCallback
from understudy.records import Generated

if TYPE_CHECKING:
    from vllm import LLM

CAPABILITIES = Capabilities(
    decodings=frozenset({"greedy", "sampling"}),
    families=frozenset(name for name, family in FAMILIES.items() if "encoder" not in family.stacks),
    logprobs=True,
    dtypes=frozenset({"float32", "bfloat16", "float16"}),
    devices=frozenset({"cuda"}),
    # Its kernels may multiply float32 as TF32, with a mantissa of 10 bits.
    tolerance=0.1,
)


def vllm_unavailable() -> str | None:
    """Why the engine cannot run on this machine, with the remedy; None: it can."""
    if find_spec("vllm") is None:
        return "vLLM is not installed: pip install 'understudy[vllm]', or use engine 'hf' or 'auto'"
    if not torch.cuda.is_available():
        return "there is no GPU that torch can use, and vLLM needs one with CUDA; use engine 'hf' or 'auto'"
    return None


def unsupported_by_vllm(config: PretrainedConfig) -> str | None:
    """Why vLLM does not generate the texts of such a model; None: it does."""
    known = CAPABILITIES.families or ()
    if config.model_type in known:
        return None
    return f"a {config.model_type!r} model (it supports decoder-only models: {', '.join(sorted(known))})"


@contextmanager
def open_vllm(
    checkpoint: Path,
    _converted: Path,
    *,
    dtype: str,
    device: str,
    threads: int | None,  # noqa: ARG001 - of the CPU, which an `OpenEngine` may be given
) -> Iterator["VllmEngine"]:
    """The engine of a checkpoint; the GPU's memory is free again after the context.

    Raises:
        GenerationError: if vLLM is missing or cannot open the checkpoint, or texts need what it does not have.
    """
    if reason := vllm_unavailable():
        raise GenerationError(f"engine 'vllm' was requested, but {reason}")
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        raise GenerationError(
            "engine 'vllm' was requested in one of several processes that train together, whose process group vLLM "
            "would replace; use engine 'hf'"
        )
    config, tokenizer, own = config_of(str(checkpoint)), load_tokenizer(str(checkpoint)), checkpoint_format(checkpoint)
    rows = getattr(config.get_text_config(decoder=True), "vocab_size", len(tokenizer))
    forbidden = forbidden_ids(own, ids_without_token(rows, tokenizer))
    with vllm_variables():
        llm, number = _opened(str(checkpoint), dtype=dtype, device=device)
        try:
            yield VllmEngine(llm, end_ids(own, tokenizer.eos_token_id), forbidden, device=number)
        finally:
            _close(llm)


class VllmEngine:
    """Generates texts with a model that vLLM has opened."""

    name = "vllm"

    def __init__(self, llm: "LLM", ends: Sequence[int], forbidden: Sequence[int], *, device: int) -> None:
        """Use `llm` on a GPU; its texts end with one of `ends`, and those of `forbidden` are never generated."""
        self._llm = llm
        self._device = device
        self._ends = list(ends)
        self._forbidden = list(forbidden)

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
        """See `Engine`. Each source has a seed of its own, a function of `seed` and its number in the call.

        Log-probabilities are those of the model before truncation and temperature, over all rows of its output layer:
        also over rows without a token, which are never generated.
        """
        refuse_decoding(self.name, CAPABILITIES, decoding)
        refuse_impossible(decoding, per_source=per_source)
        if not sources:
            return []
        self._refuse_long(max(map(len, sources)) + max_tokens)
        settings = self.settings(decoding, per_source, max_tokens, stop_ids)
        seeds = [None] * len(sources) if decoding.kind == "greedy" else request_seeds(seed, len(sources), per_source)
        found = self._run(sources, [{**settings, "seed": own} for own in seeds])
        texts = []
        for output in found:
            completions = sorted(output.outputs, key=lambda one: one.index)
            texts.append(
                tuple(
                    Generated(up_to_end(one.token_ids, self._ends, stop_ids), one.cumulative_logprob)
                    for one in completions
                )
            )
            if progress:
                progress(1)
        return texts

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[list[float]]:
        """See `Engine`. The model reads source and target as a prompt, and one token is generated and dropped."""
        if not sources:
            return []
        rows = [[*source, *target] for source, target in zip(sources, targets, strict=True)]
        self._refuse_long(max(map(len, rows)) + 1)
        settings = {"temperature": 0.0, "max_tokens": 1, "prompt_logprobs": 0, "detokenize": False}
        found = self._run(rows, [settings] * len(rows))
        return [
            [output.prompt_logprobs[len(source) + position][token].logprob for position, token in enumerate(target)]
            for output, source, target in zip(found, sources, targets, strict=True)
        ]

    def settings(
        self, decoding: PoolDecoding, per_source: int, max_tokens: int, stop_ids: Collection[int]
    ) -> dict[str, Any]:
        """The arguments of `SamplingParams`, but for the seed."""
        sampling: dict[str, Any] = {"temperature": 0.0}
        if isinstance(decoding, Sampling):
            refuse_temperature(decoding.temperature)
            sampling = {"temperature": decoding.temperature, "top_k": decoding.top_k, "top_p": decoding.top_p}
        return {
            **sampling,
            "n": per_source,
            "max_tokens": max_tokens,
            "stop_token_ids": sorted({*self._ends, *stop_ids}),
            "logprobs": 0,  # of the chosen token alone
            "logit_bias": dict.fromkeys(self._forbidden, -math.inf) or None,
            "detokenize": False,
        }

    def _run(self, prompts: Sequence[Sequence[int]], settings: Sequence[dict[str, Any]]) -> list[Any]:
        """What vLLM returns for each prompt, in order."""
        from vllm import SamplingParams, TokensPrompt

        parameters = [SamplingParams(**own) for own in settings]
        with inside(self._device):
            # Otherwise the batches depend on what an earlier call left in the cache: an interrupted run has less there.
            self._llm.reset_prefix_cache()
            found: list[Any] = self._llm.generate(
                [TokensPrompt(prompt_token_ids=list(prompt)) for prompt in prompts], parameters, use_tqdm=False
            )
        return found

    def _refuse_long(self, positions: int) -> None:
        """Refuses texts that vLLM would end at its maximum length."""
        most: int = self._llm.model_config.max_model_len
        if positions > most:
            raise GenerationError(
                f"a source with its text needs {positions} positions, but vLLM has {most} for this model on this GPU; "
                f"lower the limits on tokens, raise {MEMORY_VARIABLE}, or use engine 'hf'"
            )


def _opened(checkpoint: str, *, dtype: str, device: str) -> tuple["LLM", int]:
    """A model opened by vLLM, with the number of its GPU.

    Raises:
        GenerationError: if vLLM cannot open it.
    """
    from vllm import LLM

    _, _, index = device.partition(":")
    number = int(index) if index else torch.cuda.current_device()
    share = memory_share(number)
    try:
        with inside(number):
            llm = LLM(
                model=checkpoint,
                skip_tokenizer_init=True,
                dtype=dtype,
                seed=0,
                # The checkpoint's own settings would add sampling and ends to each request; `end_ids` has the ends.
                generation_config="vllm",
                gpu_memory_utilization=share,
                max_model_len=-1,  # as long as the model and the memory allow
                enable_prefix_caching=True,
                device_ids=[number],
            )
    except Exception as error:  # whatever it meets in a checkpoint or a driver
        raise GenerationError(
            f"vLLM cannot open {checkpoint} ({type(error).__name__}: {first_line(error)}); if memory is short, set "
            f"{MEMORY_VARIABLE} (now {share}), else use engine 'hf'"
        ) from error
    return llm, number


def _close(llm: "LLM") -> None:
    """Frees the GPU's memory and ends the process group, which vLLM opened in this process."""
    from vllm.distributed import cleanup_dist_env_and_memory

    llm.llm_engine.engine_core.shutdown()
    cleanup_dist_env_and_memory()
