"""What training minimises, as pure functions of logits at the selected target positions.

Knows tensors only: no models, no tokenizers, no batches. Positions are selected before the projection to the
vocabulary (models/forward.py), so nothing here needs a mask.
Axes: N selected target positions, V vocabulary.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import ObjectiveError


def cross_entropy(student_logits_NV: Tensor, labels_N: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Negative log-likelihood of the labels, summed over target positions.

        L = -Σₙ [(1 - s) · log q(yₙ|n) + s/V · Σᵥ log q(v|n)],  s = label_smoothing

    Args:
        student_logits_NV: any float type.
        labels_N: token ids, each the target at its position.
        label_smoothing: share of the probability spread evenly over the vocabulary; in [0, 1).

    Returns:
        Scalar, float32, in nats. A sum: the loop divides by the positions of the whole step, so that splitting a
        step into micro-batches does not change its gradient.

    Raises:
        ObjectiveError: if there is not one label per position.

    Source: Kim & Rush 2016, section 3.2 (arXiv:1606.07947), where the labels are the teacher's text.
    """
    if student_logits_NV.shape[:1] != labels_N.shape:
        raise ObjectiveError(
            f"cross_entropy needs one label per position, got logits {tuple(student_logits_NV.shape)} and labels "
            f"{tuple(labels_N.shape)}; select both with the same target mask"
        )
    return F.cross_entropy(student_logits_NV.float(), labels_N, label_smoothing=label_smoothing, reduction="sum")


def forward_kl(student_logits_NV: Tensor, teacher_logits_NV: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Forward KL divergence KL(p || q) of student q from teacher p, summed over target positions.

        L = temperature² · Σₙ Σᵥ p(v|n) · (log p(v|n) - log q(v|n))

    The factor temperature² keeps the size of the gradient roughly independent of the temperature.

    Args:
        student_logits_NV: any float type.
        teacher_logits_NV: same shape and vocabulary; no gradient is taken.
        temperature: divides both logits; > 0, 1 leaves them as they are.

    Returns:
        Scalar, float32, in nats; a sum, as in `cross_entropy`.

    Raises:
        ObjectiveError: if the two logits differ in shape.

    Source: Hinton et al. 2015, section 2 (arXiv:1503.02531); Calderon et al. 2023, section 3 ("Logits KD").
    """
    refuse_other_shapes("forward_kl", student_logits_NV, teacher_logits_NV)
    student_logp_NV, teacher_logp_NV = log_probabilities(student_logits_NV, teacher_logits_NV, temperature)
    return temperature**2 * kl(teacher_logp_NV, student_logp_NV)


def reverse_kl(student_logits_NV: Tensor, teacher_logits_NV: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Reverse KL divergence KL(q || p), summed over target positions.

        L = temperature² · Σₙ Σᵥ q(v|n) · (log q(v|n) - log p(v|n))

    Arguments, result and errors as in `forward_kl`.

    Source: Gu et al. 2024, section 2.1 (arXiv:2306.08543), here per token.
    """
    refuse_other_shapes("reverse_kl", student_logits_NV, teacher_logits_NV)
    student_logp_NV, teacher_logp_NV = log_probabilities(student_logits_NV, teacher_logits_NV, temperature)
    return temperature**2 * kl(student_logp_NV, teacher_logp_NV)


def jsd(student_logits_NV: Tensor, teacher_logits_NV: Tensor, *, beta: float = 0.5, temperature: float = 1.0) -> Tensor:
    """Generalised Jensen-Shannon divergence, summed over target positions.

        L = temperature² · Σₙ [β KL(p || m) + (1 - β) KL(q || m)],  m = β p + (1 - β) q

    Divided by β it tends to forward KL for β -> 0, divided by 1 - β to reverse KL for β -> 1; at the two ends
    themselves, where the formula is zero, it is forward and reverse KL.

    Arguments, result and errors as in `forward_kl`; `beta` in [0, 1].

    Source: Agarwal et al. 2024, section 2 (arXiv:2306.13649).
    """
    if beta == 0:
        return forward_kl(student_logits_NV, teacher_logits_NV, temperature=temperature)
    if beta == 1:
        return reverse_kl(student_logits_NV, teacher_logits_NV, temperature=temperature)
    refuse_other_shapes("jsd", student_logits_NV, teacher_logits_NV)
    student_logp_NV, teacher_logp_NV = log_probabilities(student_logits_NV, teacher_logits_NV, temperature)
    mixed_logp_NV = mixed(teacher_logp_NV, student_logp_NV, share=beta)
    return temperature**2 * (
        beta * kl(teacher_logp_NV, mixed_logp_NV) + (1 - beta) * kl(student_logp_NV, mixed_logp_NV)
    )


def tvd(student_logits_NV: Tensor, teacher_logits_NV: Tensor) -> Tensor:
    """Total variation distance, summed over target positions; no unit.

        L = 1/2 · Σₙ Σᵥ |p(v|n) - q(v|n)|

    Arguments and errors as in `forward_kl`.

    Source: Wen et al. 2023, section 3 (arXiv:2307.15190).
    """
    refuse_other_shapes("tvd", student_logits_NV, teacher_logits_NV)
    student_logp_NV, teacher_logp_NV = log_probabilities(student_logits_NV, teacher_logits_NV)
    return 0.5 * (teacher_logp_NV.exp() - student_logp_NV.exp()).abs().sum()


def skew_kl(student_logits_NV: Tensor, teacher_logits_NV: Tensor, *, alpha: float = 0.1) -> Tensor:
    """Skew KL divergence KL(p || α p + (1 - α) q), summed over target positions.

    Bounded by -log α, so that a token the student excludes cannot blow up the gradient. Arguments, result and errors
    as in `forward_kl`; `alpha` in [0, 1], 0 is forward KL.

    Source: Ko et al. 2024, section 3.1 (arXiv:2402.03898).
    """
    refuse_other_shapes("skew_kl", student_logits_NV, teacher_logits_NV)
    student_logp_NV, teacher_logp_NV = log_probabilities(student_logits_NV, teacher_logits_NV)
    return kl(teacher_logp_NV, mixed(teacher_logp_NV, student_logp_NV, share=alpha))


def skew_reverse_kl(student_logits_NV: Tensor, teacher_logits_NV: Tensor, *, alpha: float = 0.1) -> Tensor:
    """Skew reverse KL divergence KL(q || (1 - α) p + α q), summed over target positions.

    Arguments, result and errors as in `forward_kl`; `alpha` in [0, 1], 0 is reverse KL.

    Source: Ko et al. 2024, section 3.1 (arXiv:2402.03898).
    """
    refuse_other_shapes("skew_reverse_kl", student_logits_NV, teacher_logits_NV)
    student_logp_NV, teacher_logp_NV = log_probabilities(student_logits_NV, teacher_logits_NV)
    return kl(student_logp_NV, mixed(student_logp_NV, teacher_logp_NV, share=alpha))


def argmax_cross_entropy(student_logits_NV: Tensor, best_N: Tensor) -> Tensor:
    """Negative log-likelihood of the teacher's most probable tokens, `best_N`, summed over target positions, in nats.

    Errors as in `cross_entropy`.

    Source: Lin et al. 2020, section 3 (EMNLP 2020, "ImitKD").
    """
    return cross_entropy(student_logits_NV, best_N)


def taid(student_logits_NV: Tensor, teacher_logits_NV: Tensor, *, t: float) -> Tensor:
    """Forward KL from a distribution between the student's and the teacher's, summed over target positions, in nats.

        L = Σₙ KL(pₜ || q),  pₜ = softmax((1 - t) · z_q + t · z_p), whose z_q takes no gradient

    Arguments and errors as in `forward_kl`; `t` in [0, 1], 1 is forward KL.

    Source: Shing et al. 2025, section 3 (arXiv:2501.16937).
    """
    refuse_other_shapes("taid", student_logits_NV, teacher_logits_NV)
    between_NV = torch.lerp(student_logits_NV.detach().float(), teacher_logits_NV.detach().float(), t)
    return forward_kl(student_logits_NV, between_NV)


def refuse_other_shapes(name: str, student_logits_NV: Tensor, teacher_logits_NV: Tensor) -> None:
    """Lets pass only distributions over one vocabulary at the same positions.

    Raises:
        ObjectiveError: if the two logits differ in shape.
    """
    if student_logits_NV.shape != teacher_logits_NV.shape:
        raise ObjectiveError(
            f"{name} compares distributions over one vocabulary, got student logits "
            f"{tuple(student_logits_NV.shape)} and teacher logits {tuple(teacher_logits_NV.shape)}; "
            "use a student with the teacher's tokenizer, or objective cross_entropy"
        )


def log_probabilities(
    student_logits_NV: Tensor, teacher_logits_NV: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of both, float32; the teacher's take no gradient."""
    # In float32: near -10, bfloat16 rounds a log-probability to steps of 1/16.
    student_logp_NV = F.log_softmax(student_logits_NV.float() / temperature, dim=-1)
    teacher_logp_NV = F.log_softmax(teacher_logits_NV.detach().float() / temperature, dim=-1)
    return student_logp_NV, teacher_logp_NV


def kl(first_logp_NV: Tensor, second_logp_NV: Tensor) -> Tensor:
    """KL(first || second) of log-probabilities, summed over all positions."""
    return F.kl_div(second_logp_NV, first_logp_NV, log_target=True, reduction="sum")


def mixed(first_logp_NV: Tensor, second_logp_NV: Tensor, *, share: float) -> Tensor:
    """Log-probabilities of share · first + (1 - share) · second."""
    if share in {0.0, 1.0}:  # log 0 would be minus infinity, whose gradient is nan
        return first_logp_NV if share else second_logp_NV
    return torch.logaddexp(first_logp_NV + math.log(share), second_logp_NV + math.log1p(-share))
