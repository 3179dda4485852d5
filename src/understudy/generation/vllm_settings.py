"""What the engine `vllm` asks of vLLM: seeds, memory, forbidden ids, and what holds in this process while it works.

What is said of vLLM was read in the sources of 0.33.0. It is not imported here.
"""

import math
import os
import random
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import GenerationConfig

from understudy.errors import GenerationError

MEMORY_VARIABLE = "UNDERSTUDY_GPU_MEMORY_UTILIZATION"
"""Environment variable: the share of the GPU's memory for weights and cache, vLLM's `gpu_memory_utilization`."""
SHARE_OF_FREE_MEMORY = 0.9
"""What is used without the variable. vLLM's own default is a share of all memory, which fails next to another model."""
_VARIABLES = {
    # Its engine in this process: otherwise the batches, and with them the rounding, depend on when requests arrive.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
_TEMPERATURES = (0.01, 2.0)
"""vLLM raises lower temperatures to the first and refuses those above the second."""
_MOST_FORBIDDEN = 1_024
"""Ids for which one request can have a bias."""
_PRIME = 1_000_003
_SEEDS = 2**40


def request_seeds(seed: int | None, sources: int, per_source: int) -> list[int]:
    """A seed for each source; vLLM adds the sample's number to it, so they are `per_source` apart.

    Args:
        seed: of the call; None: a new one.
        sources: their number.
        per_source: samples of each.
    """
    first = secrets.randbelow(_SEEDS) if seed is None else seed * _PRIME
    return [(first + number) % _SEEDS * per_source for number in range(sources)]


def memory_share(device: int) -> float:
    """The share of a GPU's memory that vLLM may use: the variable's, or most of what is free.

    Raises:
        GenerationError: if the variable is no share.
    """
    requested = os.environ.get(MEMORY_VARIABLE)
    if requested is None:
        free, total = torch.cuda.mem_get_info(device)
        return math.floor(100 * SHARE_OF_FREE_MEMORY * free / total) / 100
    try:
        share = float(requested)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise GenerationError(f"{MEMORY_VARIABLE} is {requested!r}; set it to a share above 0 and up to 1, or unset it")
    return share


def forbidden_ids(settings: GenerationConfig, without_token: Sequence[int]) -> list[int]:
    """The ids that are never generated: rows without a token, and what the checkpoint forbids.

    Raises:
        GenerationError: if there are more than vLLM takes, or a rule that it cannot follow by token ids.
    """
    words = settings.bad_words_ids or []
    found = sorted({*without_token, *(settings.suppress_tokens or ()), *(word[0] for word in words if len(word) == 1)})
    rules = {
        "bad_words_ids": [word for word in words if len(word) > 1],
        "begin_suppress_tokens": settings.begin_suppress_tokens,
        "forced_bos_token_id": settings.forced_bos_token_id,
    }
    for name, value in rules.items():
        if value:
            raise GenerationError(
                f"the checkpoint's generation settings have {name} {value}, which engine 'vllm' cannot follow; use "
                "engine 'hf'"
            )
    if len(found) > _MOST_FORBIDDEN:
        raise GenerationError(
            f"{len(found)} rows of the model's output layer are no token or forbidden, and engine 'vllm' takes at most "
            f"{_MOST_FORBIDDEN}; trim the vocabulary (vocab_size), or use engine 'hf'"
        )
    return found


def refuse_temperature(temperature: float) -> None:
    """Refuses temperatures that vLLM would change or refuse.

    Raises:
        GenerationError: naming the range.
    """
    lowest, highest = _TEMPERATURES
    if not lowest <= temperature <= highest:
        raise GenerationError(
            f"decoding.temperature is {temperature}, and engine 'vllm' samples at temperatures from {lowest} to "
            f"{highest}; use one of these, decoding greedy, or engine 'hf'"
        )


@contextmanager
def vllm_variables() -> Iterator[None]:
    """The environment variables that vLLM reads while it is open; what the user has set stays, but for the first."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    first = next(iter(_VARIABLES))
    os.environ.update({name: value for name, value in _VARIABLES.items() if name == first or before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def inside(device: int) -> Iterator[None]:
    """Within the context the GPU is the current one; current device and global generators are as before afterwards.

    vLLM seeds the generators and draws from them, in the process that may be training.
    """
    state, devices = random.getstate(), [device] if device < torch.cuda.device_count() else []
    with torch.cuda.device(device if devices else -1), torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(state)
