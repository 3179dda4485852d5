"""What a decoding and a type of weights are called in CTranslate2."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import ctranslate2

from understudy.config.decoding import Beam, KBeams, PoolDecoding, Sampling
from understudy.errors import GenerationError

_NEW_SEEDS = 2**32 - 1
"""The library's initial seed: each thread draws its own."""
_SEEDING = Lock()
"""The seed is one of the process, which may have several engines."""


def compute_type(dtype: str, device: str, index: int) -> str:
    """The library's name for a type that the device has."""
    known = ctranslate2.get_supported_compute_types(device, index)
    if dtype != "int8":
        return dtype if dtype in known else "float32"
    if "int8_float32" not in known:
        raise GenerationError(
            f"compute type int8 was requested, but this machine's {device} has no 8-bit matrix products; it has "
            f"{', '.join(sorted(known))}: use float32"
        )
    return "int8_float32"


def compute_types() -> dict[str, tuple[str, ...]]:
    """Device -> the types of weights that the library computes with on this machine."""
    devices = ["cpu", *(["cuda"] if ctranslate2.get_cuda_device_count() else [])]
    return {device: tuple(sorted(ctranslate2.get_supported_compute_types(device))) for device in devices}


def ctranslate2_settings(decoding: PoolDecoding, *, vocabulary: int) -> dict[str, float]:
    """The settings of beam search or sampling for CTranslate2, which implements both.

    Its scores are log-probabilities before truncation.
    """
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


def row_name(row: int) -> str:
    """The name of a row of the embedding without a token."""
    return f"<row {row}>"


@contextmanager
def random_seed(seed: int) -> Iterator[None]:
    """Threads of the library that sample for the first time within the context have this seed."""
    with _SEEDING:
        ctranslate2.set_random_seed(seed)
        try:
            yield
        finally:
            ctranslate2.set_random_seed(_NEW_SEEDS)
