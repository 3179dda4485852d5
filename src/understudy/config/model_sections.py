"""Teacher and student sections. The key `model`, `scratch`, `prune` or `endpoint` selects the variant."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Tag, field_validator

from understudy.config.endpoint import Server
from understudy.config.numbers import CountFromZero, Dimension, ShareBelowOne, TokenCount, Whole
from understudy.config.section import Section, variant_by_key
from understudy.config.training import Training

Architecture = Literal["bart", "t5", "gpt2", "llama"]
"""Architectures that can be built from scratch: two encoder-decoders and two decoder-only."""

SourceFormat = Literal["separator", "none", "chat"]
"""How a decoder-only model reads a source: with a separating token after it, as it is, or in a chat template."""


class Scratch(Section):
    """A network with random weights, built from its sizes; its tokenizer is trained on the task's texts."""

    architecture: Architecture = "bart"
    """bart and t5 are encoder-decoders, gpt2 and llama decoder-only."""
    width: Dimension
    """Hidden size."""
    encoder_layers: CountFromZero = 0
    """0 for the decoder-only architectures gpt2 and llama."""
    decoder_layers: Dimension
    """Number of decoder layers."""
    heads: Dimension = 4
    """Attention heads per layer."""
    feed_forward: Dimension
    """Hidden size of the feed-forward layers."""
    dropout: ShareBelowOne = 0.1
    """Dropout probability."""

    @property
    def has_encoder(self) -> bool:
        """Whether networks of this architecture have an encoder."""
        return self.architecture in {"bart", "t5"}

    def conflicts(self) -> Iterator[str]:
        """Sizes that the architecture cannot have."""
        each, rest = divmod(self.width, self.heads)
        if rest:
            yield (
                f"width is {self.width}, which is not divisible by {self.heads} heads; use a width that is a multiple "
                f"of {self.heads}"
            )
        elif self.architecture == "llama" and each % 2:
            yield (
                f"width {self.width} gives each of {self.heads} heads {each} dimensions, and llama's rotary embedding "
                f"needs an even number; use a width that is a multiple of {2 * self.heads}"
            )
        if self.has_encoder and not self.encoder_layers:
            yield (
                f"encoder_layers is 0, but {self.architecture} is an encoder-decoder; set it to at least 1, or use the "
                "architecture gpt2 or llama"
            )
        if self.encoder_layers and not self.has_encoder:
            yield (
                f"encoder_layers is {self.encoder_layers}, but {self.architecture} is decoder-only; leave "
                "encoder_layers out, or use the architecture bart or t5"
            )


LayerChoice = Annotated[
    # `spread` is None: recipes that leave it out, and have students in their stores, mean the same.
    Literal["spread", "by_loss"] | None, AfterValidator(lambda choice: None if choice == "spread" else choice)
]
"""How the layers that a pruned network keeps are chosen."""


class Prune(Section):
    """The teacher with fewer layers. A number keeps so many, chosen by `layers`; a list names them."""

    from_: Annotated[Literal["teacher"], Field(alias="from")] = "teacher"
    """The model to prune."""
    encoder_layers: Dimension | tuple[Whole, ...] | None = None
    """Encoder layers to keep; null keeps all."""
    decoder_layers: Dimension | tuple[Whole, ...] | None = None
    """Decoder layers to keep; null keeps all."""
    layers: LayerChoice = None
    """Which layers a number keeps. `spread` (or null): the first, the last and evenly spaced ones. `by_loss`: layers
    are removed one at a time, each time the one whose removal raises the teacher's loss on labeled examples least."""

    feed_forward: Dimension | None = None
    """Width of the feed-forward layers: the neurons with the largest activations on labeled examples are kept; null
    keeps all."""

    def conflicts(self) -> Iterator[str]:
        """Layers that there is nothing to choose from."""
        if self.layers != "by_loss":
            return
        for name, requested in (("encoder_layers", self.encoder_layers), ("decoder_layers", self.decoder_layers)):
            if isinstance(requested, tuple):
                yield (
                    f"layers is by_loss, which chooses the layers to keep, but {name} lists them ({list(requested)}); "
                    f"set {name} to their number, {len(requested)}, or leave layers out"
                )
        if self.encoder_layers is None and self.decoder_layers is None:
            yield (
                "layers is by_loss, but encoder_layers and decoder_layers keep all layers; set one of them to the "
                "number of layers to keep, or leave layers out"
            )


def lora_of_random_weights(section: str, training: Training) -> Iterator[str]:
    """A LoRA adapter in the training of a network that is built from sizes."""
    if training.lora:
        yield (
            f"{section}.lora freezes all weights but an adapter, and those of a network from scratch are random; "
            "remove lora, or use a pretrained model"
        )


class Teacher(Section):
    """Settings that all local teachers share."""

    labels: Literal["all", "labeled"] = "all"
    """Which labels the teacher is fine-tuned on: also those withheld from the student, or the same as the student."""
    finetune: Training | None = None
    """How the teacher is fine-tuned; null: it is used as it is."""


class PretrainedTeacher(Teacher):
    """A pretrained checkpoint, encoder-decoder or decoder-only."""

    model: str
    """Name on the Hugging Face hub, a local folder, or a GGUF file (`model.gguf`), which needs the packages `gguf` and
    `accelerate`."""
    template: Literal["auto"] | SourceFormat = "auto"
    """How a decoder-only model reads a source: `chat` is its tokenizer's chat template, `separator` adds a token after
    the source, `none` adds nothing. `auto` is chat where the tokenizer has a chat template, else separator for a model
    that is trained and none for one that is used as it is."""
    vocab_size: TokenCount | None = None
    """The most tokens that its vocabulary is trimmed to before it is fine-tuned: special tokens, bytes, and those that
    the task's texts use most; null: all."""
    prompt: str | None = None
    """Prompt template of the teacher alone, with instructions that the student never sees (context distillation); null
    for `task.prompt`. The teacher reads it when it is trained, generates and scores."""
    system: str | None = None
    """Text of the teacher's own system turn; null for `task.system`."""
    demonstrations: CountFromZero = 0
    """Number of labeled examples, drawn by the seed, that the teacher is shown before each source, never the source's
    own: as turns of a chat, or as plain text, where a text that the teacher generates ends at the next line break (at
    the next blank line if a demonstration has several lines)."""

    @property
    def has_own_prompt(self) -> bool:
        """Whether it reads anything that the student does not."""
        return self.prompt is not None or self.system is not None or self.demonstrations > 0

    @field_validator("prompt")
    @classmethod
    def _prompt_contains_the_source(cls, prompt: str | None) -> str | None:
        if prompt is not None and "{source}" not in prompt:
            msg = f"prompt is {prompt!r}, which never shows the input; write {{source}} where it belongs"
            raise ValueError(msg)
        return prompt


class ScratchTeacher(Teacher):
    """A teacher trained from random weights on the task."""

    scratch: Scratch
    """Sizes of the network."""
    vocab_size: TokenCount = 4000
    """Vocabulary size of the tokenizer trained on the task's texts."""
    finetune: Training = Training(learning_rate=7e-4)
    """How the teacher is trained."""

    def conflicts(self) -> Iterator[str]:
        """An adapter of random weights."""
        yield from lora_of_random_weights("finetune", self.finetune)


class EndpointTeacher(Section):
    """A teacher behind an OpenAI-compatible endpoint: it returns texts and at most a few log-probabilities."""

    endpoint: Server
    """Model, prompt, limits and price of the endpoint."""
    vocab_size: TokenCount = 4000
    """Vocabulary size of a student built from scratch; its tokenizer is trained on the inputs and the responses."""


class Student(Section):
    """Settings that all students share."""

    finetune: Training = Training()
    """How the baseline is trained: the same student on gold alone, to which the distilled student is compared."""


class PretrainedStudent(Student):
    """A smaller pretrained checkpoint."""

    model: str
    """Name on the Hugging Face hub, or a local folder."""
    template: Literal["auto"] | SourceFormat = "auto"
    """How a decoder-only model reads a source: `chat` is its tokenizer's chat template, `separator` adds a token after
    the source, `none` adds nothing. `auto` is chat where the tokenizer has a chat template, else separator for a model
    that is trained and none for one that is used as it is."""
    vocab_size: TokenCount | None = None
    """The most tokens that its vocabulary is trimmed to: special tokens, bytes, and those that the task's texts use
    most; null: all. A student with the tokenizer of a trimmed teacher and the same number keeps the same tokens."""


class ScratchStudent(Student):
    """A student built from random weights, with the teacher's tokenizer if the teacher has one."""

    scratch: Scratch
    """Sizes of the network."""
    vocab_size: TokenCount | None = None
    """Vocabulary size of a tokenizer of its own, trained on the task's texts; null: the teacher's tokenizer."""

    def conflicts(self) -> Iterator[str]:
        """An adapter of random weights."""
        yield from lora_of_random_weights("finetune", self.finetune)


class PrunedStudent(Student):
    """The teacher with fewer layers."""

    prune: Prune
    """Which layers are kept."""
    vocab_size: TokenCount | None = None
    """The most tokens that the vocabulary of an untrimmed teacher is trimmed to; null: the teacher's tokenizer."""


AnyTeacher = Annotated[
    Annotated[PretrainedTeacher, Tag("model")]
    | Annotated[ScratchTeacher, Tag("scratch")]
    | Annotated[EndpointTeacher, Tag("endpoint")],
    variant_by_key("model", "scratch", "endpoint"),
]
"""A teacher section."""
AnyStudent = Annotated[
    Annotated[PretrainedStudent, Tag("model")]
    | Annotated[ScratchStudent, Tag("scratch")]
    | Annotated[PrunedStudent, Tag("prune")],
    variant_by_key("model", "scratch", "prune"),
]
"""A student section."""
