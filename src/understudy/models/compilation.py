"""Compiled layers: torch.compile for each layer of a network, so that equal layers share their code."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from understudy.errors import ConfigError, first_line
from understudy.models.layers import Forward, layers_called

RECOMPILE_LIMIT = 64
"""Versions of the code of all layers: encoder and decoder, batches of one text, with a mask and without. torch runs
what comes after its limit, 8, without compiling it."""


def require_compiler(device: str) -> None:
    """Refuses compiled layers where torch cannot compile; some seconds.

    Raises:
        ConfigError: with what torch says.
    """
    torch._dynamo.reset()  # noqa: SLF001 - documented in torch.compile's troubleshooting
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of its own code
            torch.compile(torch.nn.functional.gelu)(torch.ones(32, device=device))
    except Exception as error:
        raise ConfigError(
            f"compile_layers needs what torch.compile needs, and that fails here: {first_line(error)}; install a "
            "compiler and Python's headers (Debian: apt install g++ python3-dev), or leave compile_layers out"
        ) from error


@contextmanager
def compiled_layers(model: PreTrainedModel, *, enabled: bool = True) -> Iterator[None]:
    """Within the context, layers run compiled code where there are gradients, made at the first calls.

    Weights and their names do not change. Results are the same up to the order of float sums, which may differ from
    process to process, but dropout draws other random numbers.

    Raises:
        ModelError: if transformers marks no layers in the model.
    """
    if not enabled:
        yield
        return
    try:
        with (
            torch._dynamo.config.patch(recompile_limit=RECOMPILE_LIMIT),  # noqa: SLF001 - as above
            layers_called(
                model, "compile_layers", lambda own: partial(_compiled, own, torch.compile(own, dynamic=True))
            ),
        ):
            yield
    finally:
        torch._dynamo.reset()  # noqa: SLF001 - the code of this network would count for the next one


def _compiled(plain: Forward, compiled: Forward, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of any layer
    # Generation and scoring would compile versions of their own, one for each layer's cache.
    return (compiled if torch.is_grad_enabled() else plain)(*args, **kwargs)
