"""Selection settings: which of an input's generated texts are used as targets.

A selection reads a finished pool; changing it does not generate texts again.
"""

from typing import Annotated, Literal

from pydantic import Field

from understudy.config.numbers import TextsPerInput
from understudy.config.section import Section


class KeepAll(Section):
    """Keeps every text, duplicates included."""

    kind: Literal["all"] = "all"


class Distinct(Section):
    """Keeps each distinct text of an input once; `copies` counts its duplicates."""

    kind: Literal["distinct"] = "distinct"


class ClosestToGold(Section):
    """Keeps the text closest to gold by chrF: SeqInter (Kim & Rush 2016). Without gold, the most probable text."""

    kind: Literal["closest_to_gold"] = "closest_to_gold"


class MBR(Section):
    """Keeps the texts with the highest mean chrF to the input's other texts: minimum Bayes risk (arXiv:2407.10456)."""

    kind: Literal["mbr"] = "mbr"
    n: TextsPerInput = 1
    """Maximum number of distinct texts per input."""


class MostProbable(Section):
    """Keeps the texts with the highest log-probability per token under the teacher."""

    kind: Literal["most_probable"] = "most_probable"
    n: TextsPerInput = 1
    """Maximum number of distinct texts per input."""


class Agreement(Section):
    """Keeps the texts sampled most often; ties go to the more probable."""

    kind: Literal["agreement"] = "agreement"
    n: TextsPerInput = 1
    """Maximum number of distinct texts per input."""


Selection = Annotated[
    KeepAll | Distinct | ClosestToGold | MBR | MostProbable | Agreement,
    Field(discriminator="kind"),
]
"""A selection section."""
