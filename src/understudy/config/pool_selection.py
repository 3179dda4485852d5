"""Which of the texts that a teacher wrote for an input are kept.

A selection reads a pool that is there; another one of the same pool writes no text again.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from understudy.config.section import Section


class KeepAll(Section):
    """Every text, repeated ones too."""

    kind: Literal["all"] = "all"


class Distinct(Section):
    """Each text of an input once; `copies` counts how often it was written."""

    kind: Literal["distinct"] = "distinct"


class ClosestToGold(Section):
    """The text nearest to the input's gold, by chrF: SeqInter (Kim & Rush 2016). Without gold the most probable."""

    kind: Literal["closest_to_gold"] = "closest_to_gold"


class MBR(Section):
    """The texts most like the input's other texts, by mean chrF: minimum Bayes risk (arXiv:2407.10456)."""

    kind: Literal["mbr"] = "mbr"
    n: PositiveInt = 1
    """Different texts per input, at most."""


class MostProbable(Section):
    """The texts with the highest log-probability per token under the teacher."""

    kind: Literal["most_probable"] = "most_probable"
    n: PositiveInt = 1
    """Different texts per input, at most."""


class Agreement(Section):
    """The texts drawn most often; of equals the more probable."""

    kind: Literal["agreement"] = "agreement"
    n: PositiveInt = 1
    """Different texts per input, at most."""


Selection = Annotated[
    KeepAll | Distinct | ClosestToGold | MBR | MostProbable | Agreement,
    Field(discriminator="kind"),
]
