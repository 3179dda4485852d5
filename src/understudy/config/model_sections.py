"""Which teacher and which student: a variant is named by its key (`model`, `scratch`, `prune`)."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, Tag, model_validator

from understudy.config.endpoint import Server
from understudy.config.section import Section, variant_by_key
from understudy.config.training import Training

Architecture = Literal["bart", "t5", "gpt2", "llama"]


class Scratch(Section):
    """A network built from a few sizes, its tokenizer trained on the task's texts."""

    architecture: Architecture = "bart"
    width: PositiveInt
    encoder_layers: NonNegativeInt = 0
    """0 for the decoder-only architectures gpt2 and llama."""
    decoder_layers: PositiveInt
    heads: PositiveInt = 4
    feed_forward: PositiveInt
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @property
    def has_encoder(self) -> bool:
        """Whether networks of this architecture have one."""
        return self.architecture in {"bart", "t5"}

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        each, rest = divmod(self.width, self.heads)
        if rest:
            msg = (
                f"width is {self.width}, which is divided among {self.heads} heads; use a width that is a multiple of "
                f"{self.heads}"
            )
            raise ValueError(msg)
        if self.architecture == "llama" and each % 2:
            msg = (
                f"width {self.width} gives each of {self.heads} heads {each} numbers, and llama turns them in pairs; "
                f"use a width that is a multiple of {2 * self.heads}"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _layers_are_where_the_architecture_has_them(self) -> Self:
        if self.has_encoder and not self.encoder_layers:
            msg = (
                f"encoder_layers is 0, but {self.architecture} is an encoder-decoder; set it to at least 1, or use the "
                "architecture gpt2 or llama"
            )
            raise ValueError(msg)
        if self.encoder_layers and not self.has_encoder:
            msg = (
                f"encoder_layers is {self.encoder_layers}, but {self.architecture} is decoder-only; leave "
                "encoder_layers out, or use the architecture bart or t5"
            )
            raise ValueError(msg)
        return self


class Prune(Section):
    """The teacher with fewer layers: a count keeps the first, the last and an even spread, a list keeps just these."""

    from_: Annotated[Literal["teacher"], Field(alias="from")] = "teacher"
    encoder_layers: PositiveInt | tuple[int, ...] | None = None
    """None keeps all."""
    decoder_layers: PositiveInt | tuple[int, ...] | None = None


class Teacher(Section):
    """What every teacher has."""

    labels: Literal["all", "labeled"] = "all"
    """Whether the teacher may learn from the labels that are withheld from the student."""
    finetune: Training | None = None
    """None: the teacher is used as it is."""


class PretrainedTeacher(Teacher):
    """A checkpoint by hub name or local path, encoder-decoder or decoder-only."""

    model: str


class ScratchTeacher(Teacher):
    """A teacher trained from nothing on the task."""

    scratch: Scratch
    vocab_size: PositiveInt = 4000
    """Pieces of the tokenizer trained on the task's texts."""
    finetune: Training = Training(learning_rate=7e-4)


class EndpointTeacher(Section):
    """A teacher behind an OpenAI-compatible server: it writes, and tells a few log-probabilities at the most."""

    endpoint: Server
    vocab_size: PositiveInt = 4000
    """Pieces of the tokenizer that a student from scratch gets, trained on the inputs and the endpoint's texts."""


class Student(Section):
    """What every student has."""

    finetune: Training = Training()
    """How the baseline learns: the same student on gold alone, against which the distilled one is measured."""


class PretrainedStudent(Student):
    """A smaller checkpoint by hub name or local path."""

    model: str


class ScratchStudent(Student):
    """A student built from a few sizes, with the teacher's tokenizer, if it has one."""

    scratch: Scratch


class PrunedStudent(Student):
    """The teacher with fewer layers."""

    prune: Prune


AnyTeacher = Annotated[
    Annotated[PretrainedTeacher, Tag("model")]
    | Annotated[ScratchTeacher, Tag("scratch")]
    | Annotated[EndpointTeacher, Tag("endpoint")],
    variant_by_key("model", "scratch", "endpoint"),
]
AnyStudent = Annotated[
    Annotated[PretrainedStudent, Tag("model")]
    | Annotated[ScratchStudent, Tag("scratch")]
    | Annotated[PrunedStudent, Tag("prune")],
    variant_by_key("model", "scratch", "prune"),
]
