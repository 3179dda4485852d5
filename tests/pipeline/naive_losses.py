"""The losses of docs/methods.md, written once more: a loop over targets, one example at a time, in plain torch.

Nothing of the package is used but its table of heads: networks are called as Hugging Face networks, in double
precision, without padding. Axes: T target positions, V vocabulary, K events of a distribution.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

Pair = tuple[list[int], list[int]]
"""Source and target, as token ids."""
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Student's and teacher's log-probabilities TK, labels T -> the loss at each position, T."""


def log_probabilities(network: PreTrainedModel, pair: Pair) -> Tensor:
    """The log q(v | y<t, x) at every position of the target, TV."""
    source, target = pair
    logits: Tensor
    with torch.no_grad():
        if network.config.is_encoder_decoder:
            start = [network.config.decoder_start_token_id, *target[:-1]]
            logits = network(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([start])).logits[0]
        else:
            logits = network(input_ids=torch.tensor([[*source, *target[:-1]]])).logits[0, len(source) - 1 :]
    return logits.double().log_softmax(-1)


def kept(student_TV: Tensor, teacher_TV: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """Both distributions over the teacher's most probable tokens and one event for all others."""
    top_TK = teacher_TV.topk(tokens, dim=-1).indices
    others_TV = student_TV.scatter(-1, top_TK, -math.inf)
    ours = torch.cat([student_TV.gather(-1, top_TK), others_TV.logsumexp(-1, keepdim=True)], dim=-1)
    cached = teacher_TV.gather(-1, top_TK).half().double()  # the cache has half precision
    rest_T1 = (1 - cached.exp().sum(-1, keepdim=True)).clamp(min=torch.finfo(torch.float32).eps)
    return ours, torch.cat([cached, rest_T1.log()], dim=-1)


def kl(p_logp: Tensor, q_logp: Tensor) -> Tensor:
    """KL(p || q) at each position."""
    return (p_logp.exp() * (p_logp - q_logp)).sum(-1)


def mixed(first: Tensor, second: Tensor, share: float) -> Tensor:
    """The log of share · first + (1 - share) · second."""
    return (share * first.exp() + (1 - share) * second.exp()).log()


def cross_entropy(q: Tensor, _p: Tensor, labels_T: Tensor) -> Tensor:
    """-log q(y)."""
    return -q.gather(-1, labels_T[:, None])[:, 0]


def forward_kl(q: Tensor, p: Tensor, _labels_T: Tensor) -> Tensor:
    """KL(p || q)."""
    return kl(p, q)


def jsd(q: Tensor, p: Tensor, _labels_T: Tensor) -> Tensor:
    """½ KL(p || m) + ½ KL(q || m), m the mean of p and q."""
    return 0.5 * kl(p, mixed(p, q, 0.5)) + 0.5 * kl(q, mixed(p, q, 0.5))


def tvd(q: Tensor, p: Tensor, _labels_T: Tensor) -> Tensor:
    """½ Σ |p - q|."""
    return 0.5 * (p.exp() - q.exp()).abs().sum(-1)


def skew_kl(q: Tensor, p: Tensor, _labels_T: Tensor) -> Tensor:
    """KL(p || α p + (1 - α) q), α 0.1."""
    return kl(p, mixed(p, q, 0.1))


def skew_reverse_kl(q: Tensor, p: Tensor, _labels_T: Tensor) -> Tensor:
    """KL(q || (1 - α) p + α q), α 0.1."""
    return kl(q, mixed(p, q, 0.9))


def taid(q: Tensor, p: Tensor, _labels_T: Tensor, *, t: float) -> Tensor:
    """KL(softmax((1 - t) z_q + t z_p) || q)."""
    return kl(((1 - t) * q + t * p).log_softmax(-1), q)


def argmax_cross_entropy(q: Tensor, p: Tensor, _labels_T: Tensor) -> Tensor:
    """-log q(argmax p)."""
    return -q.gather(-1, p.argmax(-1, keepdim=True))[:, 0]


def loss_of(
    loss: Loss, student: PreTrainedModel, teacher: PreTrainedModel, pair: Pair, *, tokens: int | None = None
) -> float:
    """The loss of one target, a sum over its positions in nats.

    Args:
        loss: at each position.
        student: that is trained.
        teacher: that it is compared with.
        pair: source and target.
        tokens: kept of each teacher distribution; None: all.
    """
    q_TV, p_TV = log_probabilities(student, pair), log_probabilities(teacher, pair)
    if tokens is not None and loss not in {cross_entropy, argmax_cross_entropy}:
        q_TV, p_TV = kept(q_TV, p_TV, tokens)
    return float(loss(q_TV, p_TV, torch.tensor(pair[1])).sum())


def relation_loss(of: str, student: PreTrainedModel, teacher: PreTrainedModel, pair: Pair, *, heads: int) -> float:
    """The mean of the relation terms of one target, times its number of positions."""
    ours, theirs = (states(network, pair) for network in (student, teacher))
    keys = [key for key in theirs if (of == "hidden") == key.endswith("hidden")]
    terms = [term(ours[key], theirs[key], heads, causal=key.startswith("decoder")) for key in keys]
    return sum(terms) / len(terms) * len(pair[1])


def term(ours: Tensor, theirs: Tensor, heads: int, *, causal: bool) -> float:
    """KL(teacher's rows || student's rows) of softmax(X Xᵀ / √d), averaged over heads and positions."""
    total, positions = 0.0, len(theirs)
    for head in range(heads):
        for row in range(positions):
            seen = row + 1 if causal else positions
            rows = []
            for x in (theirs, ours):
                width = x.shape[1] // heads
                part = x[:, head * width : (head + 1) * width].double()
                rows.append((part[:seen] @ part[row] / math.sqrt(width)).log_softmax(-1))
            total += float(kl(rows[0], rows[1]))
    return total / heads / positions


def states(network: PreTrainedModel, pair: Pair) -> dict[str, Tensor]:
    """Queries, keys and values of the last layers, and the last hidden states, of one source with one target."""
    found: dict[str, Tensor] = {}
    with torch.no_grad(), recording(network, found):
        if network.config.is_encoder_decoder:
            start = [network.config.decoder_start_token_id, *pair[1][:-1]]
            out: Any = network.model(input_ids=torch.tensor([pair[0]]), decoder_input_ids=torch.tensor([start]))
            found["encoder.hidden"] = out.encoder_last_hidden_state[0]
        else:
            out = network.transformer(input_ids=torch.tensor([[*pair[0], *pair[1][:-1]]]))
        found["decoder.hidden"] = out.last_hidden_state[0]
    return found


@contextmanager
def recording(network: Any, found: dict[str, Tensor]) -> Iterator[None]:  # noqa: ANN401 - BART or GPT-2
    """Records the projections of the last layers of a BART or a GPT-2."""

    def keep(name: str, _module: object, _inputs: object, output: Tensor) -> None:
        found[name] = output[0]

    def split(_module: object, _inputs: object, output: Tensor) -> None:
        for role, part in zip(("query", "key", "value"), output[0].chunk(3, dim=-1), strict=True):
            found[f"decoder.{role}"] = part

    hooks = []
    if network.config.is_encoder_decoder:
        encoder, decoder = network.model.encoder.layers[-1], network.model.decoder.layers[-1]
        places = {"encoder": encoder.self_attn, "decoder": decoder.self_attn, "cross": decoder.encoder_attn}
        for place, attention in places.items():
            for role in ("query", "key", "value"):
                projection = getattr(attention, f"{role[0]}_proj")
                hooks.append(projection.register_forward_hook(partial(keep, f"{place}.{role}")))
    else:
        hooks.append(network.transformer.h[-1].attn.c_attn.register_forward_hook(split))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def mean_loss(losses: Sequence[float], pairs: Sequence[Pair]) -> float:
    """Sums over targets, divided by all target positions."""
    return sum(losses) / sum(len(target) for _, target in pairs)
