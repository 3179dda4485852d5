"""Which divergence on the tokens of a text is minimised."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from understudy.config.section import Section

Share = Annotated[float, Field(ge=0, le=1)]


class CrossEntropy(Section):
    """Learn the target's text (Kim & Rush 2016, section 3.2). Works across vocabularies."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class ForwardKL(Section):
    """Match the teacher's token distributions (Hinton et al. 2015). Needs the teacher's vocabulary, as do all below."""

    kind: Literal["forward_kl"] = "forward_kl"
    temperature: PositiveFloat = 1.0


class ReverseKL(Section):
    """Match them where the student puts its own probability (Gu et al. 2024)."""

    kind: Literal["reverse_kl"] = "reverse_kl"
    temperature: PositiveFloat = 1.0


class JSD(Section):
    """Between the two: near 0 as forward KL, near 1 as reverse KL (Agarwal et al. 2024)."""

    kind: Literal["jsd"] = "jsd"
    beta: Share = 0.5
    temperature: PositiveFloat = 1.0


class TVD(Section):
    """Total variation distance (Wen et al. 2023)."""

    kind: Literal["tvd"] = "tvd"


class SkewKL(Section):
    """Forward KL to a mixture of both distributions (Ko et al. 2024)."""

    kind: Literal["skew_kl"] = "skew_kl"
    alpha: Share = 0.1


class SkewReverseKL(Section):
    """Reverse KL to a mixture of both distributions (Ko et al. 2024)."""

    kind: Literal["skew_reverse_kl"] = "skew_reverse_kl"
    alpha: Share = 0.1


class ArgmaxCrossEntropy(Section):
    """Learn the teacher's most probable token after every prefix (Lin et al. 2020)."""

    kind: Literal["argmax_cross_entropy"] = "argmax_cross_entropy"


class TAID(Section):
    """Match a distribution that moves from the student's to the teacher's (Shing et al. 2025)."""

    kind: Literal["taid"] = "taid"
    start: Share = 0.4
    """Where between the two it begins; it never falls behind a straight line from here to 1."""
    step: PositiveFloat = 5e-4
    """The most it moves in one step, when the loss falls fast."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99


AnyObjective = Annotated[
    CrossEntropy | ForwardKL | ReverseKL | JSD | TVD | SkewKL | SkewReverseKL | ArgmaxCrossEntropy | TAID,
    Field(discriminator="kind"),
]
