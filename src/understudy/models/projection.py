"""Hidden states at target positions, and the head that turns a part of them into logits.

The network is run once, to the input of its head. What the model's own code does with the head's output (a scale, a
soft cap, a bias) is recorded there and applied to each part, so that no list of model families is needed.
Axes: N true positions of the target mask in row-major order, H hidden width, V vocabulary.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from understudy.errors import ModelError
from understudy.models.forward import few_tokens, target_logits

Step = Callable[[Tensor], Tensor]
"""A part of the way from the head's output to the logits: any positions, V -> the same positions, V."""
POSITIONWISE = ("add", "sub", "mul", "div", "tanh", "to", "float", "contiguous")
"""Names of the functions of torch that treat each logit by itself. A model that calls another one on its logits is
projected as a whole."""


@dataclass(frozen=True)
class Projection:
    """Hidden states at N target positions, with the way from them to the logits."""

    hidden_NH: Tensor
    head: nn.Linear
    dtype: torch.dtype
    """What the head computes in: its weight's, or that of autocast."""
    steps: tuple[Step, ...] = ()

    def weights(self) -> tuple[Tensor, Tensor | None]:
        """Weight VH and bias V of the head in the type in which it computes, without gradients."""
        bias_V = self.head.bias
        return self.head.weight.detach().to(self.dtype), None if bias_V is None else bias_V.detach().to(self.dtype)

    def finished(self, projected_NV: Tensor) -> Tensor:
        """The logits, from the head's output at any positions."""
        for step in self.steps:
            projected_NV = step(projected_NV)
        return projected_NV

    @torch.no_grad()
    def logits(self, at_N: Tensor | slice) -> Tensor:
        """The logits at the positions of a slice or mask, without gradients."""
        return self.finished(F.linear(self.hidden_NH[at_N].to(self.dtype), *self.weights()))


def projection(model: PreTrainedModel, read: Callable[..., Tensor] = target_logits, /, **inputs: Tensor) -> Projection:
    """Hidden states at the target positions, and the way from them to the logits of `target_logits`.

    Arguments as in `target_logits`; `read` may be `shared_source_logits`. Gradients flow through the hidden states;
    `Projection` itself takes none for the head.

    Raises:
        ModelError: if the model's logits are not functions of single positions, as `projects_in_parts` finds out.
    """
    head, hidden, dtypes = model.get_output_embeddings(), list[Tensor](), list[torch.dtype]()

    def before(_module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor]:
        hidden.append(arguments[0])
        return (arguments[0][:0],)  # nothing is projected yet, and the model's code goes on with no positions

    def after(_module: nn.Module, _arguments: object, output: Tensor) -> Tensor:
        dtypes.append(output.dtype)
        return output.as_subclass(_Recorded)

    handles = (head.register_forward_pre_hook(before), head.register_forward_hook(after))
    try:
        found = read(model, **inputs)
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(found, _Recorded) or found.steps is None or type(head) is not nn.Linear:
        raise ModelError(
            f"{type(model).__name__} computes logits from its head ({type(head).__name__}) in a way that cannot be "
            "applied to a part of the positions; project all of them with target_logits"
        )
    # The last call of the head: one that reads sources into a cache projects nothing.
    return Projection(hidden[-1], head, dtypes[-1], found.steps)


def projects_in_parts(model: PreTrainedModel) -> bool:
    """Whether a few tokens have the same logits by `projection` and by `target_logits`, bit by bit.

    The mode of the model, the random state and its weights do not change.
    """
    inputs = few_tokens(model)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        expected_NV = target_logits(model, **inputs)
        torch.manual_seed(0)  # the same dropout
        try:
            found_NV = projection(model, **inputs).logits(slice(None))
        except (ModelError, RuntimeError, ValueError, IndexError):  # or code that does not work on no rows
            return False
    return torch.equal(found_NV, expected_NV)


class _Recorded(Tensor):
    """The output of a head, which records what is done to it; `steps` is None once that cannot be repeated."""

    steps: tuple[Step, ...] | None = ()

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        """Calls the function, and appends it to the steps of its result."""
        result = super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        recorded = [argument for argument in args if isinstance(argument, cls)]
        if isinstance(result, torch.Size | torch.dtype | torch.device | bool | int):
            return result
        results = [each for each in (result if isinstance(result, tuple) else (result,)) if isinstance(each, cls)]
        before = recorded[0].steps if len(recorded) == 1 else None
        if before is not None and _repeatable(func, args, kwargs or {}):
            result.steps = (*before, _step(func, args, kwargs or {}))
            return result
        for each in (*recorded, *results):  # the function may have changed its arguments in place
            each.steps = None
        return result


def _repeatable(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether the function treats each logit by itself and has no weights that are trained."""
    trained = any(
        isinstance(value, Tensor) and not isinstance(value, _Recorded) and value.requires_grad
        for value in (*args, *kwargs.values())
    )
    return getattr(func, "__name__", "") in POSITIONWISE and not trained


def _step(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Step:
    """The call again, with another tensor in place of the recorded one."""

    def step(projected_NV: Tensor) -> Tensor:
        again = (projected_NV if isinstance(argument, _Recorded) else argument for argument in args)
        result: Tensor = func(*again, **kwargs)
        return result

    return step
