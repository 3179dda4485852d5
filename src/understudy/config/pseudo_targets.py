"""Pseudo-target settings: for which inputs the teacher generates how many texts, how, and which are used."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, field_validator

from understudy.config.decoding import Beam, DiverseBeam, KBeams, PoolDecoding, Sampling
from understudy.config.numbers import Inputs, TextsPerInput
from understudy.config.pool_selection import KeepAll, Selection
from understudy.config.section import Section

InputKind = Literal["labeled", "unlabeled"]
ComputeType = Literal["float32", "int8"]
"""Types of weights that a local teacher generates with, by CTranslate2's names."""


class PseudoTargets(Section):
    """The texts that the teacher generates."""

    inputs: Annotated[tuple[InputKind, ...], Field(min_length=1)] = ("labeled", "unlabeled")
    """Inputs for which texts are generated."""
    per_input: TextsPerInput = 1
    """Texts per input."""
    decoding: PoolDecoding = Beam()
    """How the texts are generated."""
    shard_inputs: Inputs = 512
    """Inputs per shard. A shard has its own seed, and an interruption loses at most the current one."""
    compute_type: ComputeType = "float32"
    """Type of a local teacher's weights when it generates these texts. int8 is two to three times as fast for large
    models and gives other texts; only engine ctranslate2 has it. Evaluation and benchmark use float32."""
    min_finished: Annotated[float, Field(ge=0, le=1)] | None = None
    """Smallest share of texts that are not empty, and of texts that have ended within the limit; a local teacher's pool
    with less is refused. null is 0.5 for a teacher that is used as it is and 0 for one that the run fine-tunes."""
    select: Selection = KeepAll()
    """Which of an input's texts are used as targets; the pool is generated once for all selections."""

    @property
    def max_per_search(self) -> int | None:
        """The most texts that one search returns for an input; None where texts are sampled independently."""
        match self.decoding:
            case KBeams(beams=beams):
                return beams
            case DiverseBeam(groups=groups):
                return groups
            case Sampling():
                return None
            case _:
                return 1

    @field_validator("inputs")
    @classmethod
    def _sort_inputs(cls, inputs: tuple[InputKind, ...]) -> tuple[InputKind, ...]:
        """Removes duplicates and fixes the order, so that equal sets have equal cache keys."""
        return tuple(sorted(set(inputs)))

    def conflicts(self) -> Iterator[str]:
        """The decoding gives enough texts, and the selection keeps no more than there are."""
        most, selected = self.max_per_search, getattr(self.select, "n", 1)
        if most is not None and self.per_input > most:
            yield (
                f"per_input is {self.per_input}, but decoding {self.decoding.kind} gives at most {most} per input; "
                "use decoding kind sampling, or k_beams with as many beams, or diverse_beam with as many groups"
            )
        if self.compute_type != "float32" and isinstance(self.decoding, DiverseBeam):
            yield (
                f"compute_type is {self.compute_type}, which only engine ctranslate2 has, but decoding diverse_beam "
                "needs engine hf; leave compute_type out, or use another decoding"
            )
        if selected > self.per_input:
            yield (
                f"select.n is {selected}, but per_input is {self.per_input}, so no input has that many texts; "
                "lower select.n, or raise per_input"
            )
