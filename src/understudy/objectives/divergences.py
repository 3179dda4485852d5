"""What training minimises, as pure functions of logits at the selected target positions.

Knows tensors only: no models, no tokenizers, no batches. Positions are selected before the projection to the
vocabulary (models/forward.py), so nothing here needs a mask.
Axes: N selected target positions, V vocabulary.
"""

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
    if student_logits_NV.shape != teacher_logits_NV.shape:
        raise ObjectiveError(
            f"forward_kl compares distributions over one vocabulary, got student logits "
            f"{tuple(student_logits_NV.shape)} and teacher logits {tuple(teacher_logits_NV.shape)}; "
            "use a student with the teacher's tokenizer, or objective cross_entropy"
        )
    # In float32: near -10, bfloat16 rounds a log-probability to steps of 1/16.
    student_logp_NV = F.log_softmax(student_logits_NV.float() / temperature, dim=-1)
    teacher_logp_NV = F.log_softmax(teacher_logits_NV.detach().float() / temperature, dim=-1)
    return temperature**2 * F.kl_div(student_logp_NV, teacher_logp_NV, log_target=True, reduction="sum")
