"""The section `objective`: the loss on the tokens of a target."""

from typing import Annotated, Literal

from pydantic import Field

from understudy.config.numbers import Positive, Real, Share, ShareBelowOne
from understudy.config.section import Section


class CrossEntropy(Section):
    """Maximise the likelihood of the target (Kim & Rush 2016, section 3.2). Works across vocabularies."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: ShareBelowOne = 0.0


class ForwardKL(Section):
    """Match the teacher's token distributions (Hinton et al. 2015). Needs the teacher's vocabulary, as do all below."""

    kind: Literal["forward_kl"] = "forward_kl"
    temperature: Positive = 1.0


class ReverseKL(Section):
    """Match them where the student's probability is high (Gu et al. 2024)."""

    kind: Literal["reverse_kl"] = "reverse_kl"
    temperature: Positive = 1.0


class JSD(Section):
    """Generalised Jensen-Shannon: beta near 0 acts as forward KL, near 1 as reverse KL (Agarwal et al. 2024)."""

    kind: Literal["jsd"] = "jsd"
    beta: Share = 0.5
    temperature: Positive = 1.0


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
    """Cross-entropy on the teacher's most probable token after every prefix (Lin et al. 2020)."""

    kind: Literal["argmax_cross_entropy"] = "argmax_cross_entropy"


class TAID(Section):
    """Match an interpolation that moves from the student's to the teacher's distribution (Shing et al. 2025)."""

    kind: Literal["taid"] = "taid"
    start: Share = 0.4
    """Interpolation weight at the start; it never falls below a straight line from here to 1."""
    step: Positive = 5e-4
    """The largest increase of the weight in one step, reached when the loss falls fast."""
    momentum: ShareBelowOne = 0.99


class Custom(Section):
    """A function of your own. Imported only with --allow-code."""

    kind: Literal["custom"] = "custom"
    function: Annotated[str, Field(pattern=r".:\w+$")]
    """'package.module:function' or 'path/to/file.py:function'; docs/extending.md shows one."""
    settings: dict[str, Real] = Field(default_factory=dict)
    """Keyword arguments of the function."""


AnyObjective = Annotated[
    CrossEntropy | ForwardKL | ReverseKL | JSD | TVD | SkewKL | SkewReverseKL | ArgmaxCrossEntropy | TAID | Custom,
    Field(discriminator="kind"),
]
