"""How a model of a run reads a task: its tokenizer, the prompt and the length limits.

This module depends on the task's settings and on records. It loads configs and tokenizers, no weights. Which examples
are within the limits is in `length_limits`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from transformers import PreTrainedTokenizerBase

from understudy.config.model_sections import Scratch, SourceFormat
from understudy.errors import ModelError
from understudy.models.chat import Turns
from understudy.models.checkpoint import config_of, max_positions
from understudy.models.scratch import ARCHITECTURES
from understudy.models.text import (
    decode,
    encode_sources,
    encode_targets,
    saved_source_format,
    set_source_format,
)
from understudy.models.tokenizers import load_tokenizer
from understudy.records import Example


@dataclass(frozen=True)
class TextLimits:
    """The settings of a task that decide what a model reads and generates."""

    prompt: str
    """`{source}` stands for the input."""
    max_source_tokens: int
    max_target_tokens: int
    system: str | None = None
    """Text of the system turn; without a chat template it is put before the prompt."""
    demonstrations: tuple[tuple[str, str], ...] | None = None
    """Sources with a target each, one more than are shown before a source: its own is left out."""
    stop: str | None = None
    """Text at which a generated text ends if no end token comes before: what separates demonstrations."""
    keep_reasoning: bool | None = None
    """Whether reasoning is part of a generated text (`generated_text`)."""


@dataclass(frozen=True)
class TaskTokenizer:
    """Converts the task's texts to token ids of one model, and back."""

    tokenizer: PreTrainedTokenizerBase
    is_encoder_decoder: bool
    prompt: str
    max_source_tokens: int
    max_target_tokens: int
    max_positions: int | None = None
    """Positions of the model, of source and target together if it is decoder-only; None: no limit."""
    system: str | None = None
    demonstrations: tuple[tuple[str, str], ...] = ()
    stop: str | None = None
    keep_reasoning: bool = False
    """These four are as in `TextLimits`."""
    limits_sources: bool = True
    """Whether `max_source_tokens` is checked: a teacher's own prompt only has to fit its positions."""

    @property
    def longest(self) -> int:
        """The most tokens of a source and its target together: the positions of a model built from scratch."""
        return self.max_source_tokens + self.max_target_tokens

    @property
    def pad_id(self) -> int:
        """The id that pads batches. Padding is masked everywhere, so any id serves if the tokenizer has none."""
        return int(self.tokenizer.pad_token_id or 0)

    def needed_positions(self, source: int, target: int) -> int:
        """Positions that a source and a target of so many tokens need; a target's last token is not read."""
        return max(source, target) if self.is_encoder_decoder else source + target - 1

    def encode_sources(self, examples: Sequence[Example]) -> list[list[int]]:
        """Token ids of the sources after the prompt template is applied, of any length."""
        texts = [self._prompted(example.source) for example in examples]
        turns = (
            [self._turns(example.source) for example in examples]
            if self.system is not None or self.demonstrations
            else None
        )
        return encode_sources(self.tokenizer, texts, is_encoder_decoder=self.is_encoder_decoder, turns=turns)

    def encode_targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of target texts, of any length."""
        return encode_targets(self.tokenizer, texts, is_encoder_decoder=self.is_encoder_decoder)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of generated token ids."""
        return decode(self.tokenizer, token_ids)

    def _prompted(self, source: str) -> str:
        return self.prompt.replace("{source}", source)

    def _turns(self, source: str) -> Turns:
        """The system turn and the demonstrations before a source, which is none of them."""
        shown = [pair for pair in self.demonstrations if pair[0] != source][: max(0, len(self.demonstrations) - 1)]
        return [
            *([("system", self.system)] if self.system is not None else []),
            *(turn for own, target in shown for turn in (("user", self._prompted(own)), ("assistant", target))),
        ]


def checkpoint_task_tokenizer(
    limits: TextLimits, name_or_path: str, source_format: SourceFormat | None = None
) -> TaskTokenizer:
    """The task tokenizer of a checkpoint, on disk or on the hub.

    Args:
        limits: of the task.
        name_or_path: of the checkpoint.
        source_format: how a decoder-only model reads a source; None: as its tokenizer says.

    Raises:
        ModelError: if there is no checkpoint, or it has no tokenizer.
    """
    config, tokenizer = config_of(name_or_path), load_tokenizer(name_or_path)
    if source_format:
        set_source_format(tokenizer, source_format)
    return TaskTokenizer(
        tokenizer,
        bool(config.is_encoder_decoder),
        limits.prompt,
        limits.max_source_tokens,
        limits.max_target_tokens,
        max_positions(config),
        limits.system,
        limits.demonstrations or (),
        limits.stop,
        bool(limits.keep_reasoning),
    )


def choose_source_format(
    name_or_path: str, requested: Literal["auto"] | SourceFormat, *, trained: bool
) -> SourceFormat | None:
    """How a checkpoint reads a source; None for an encoder-decoder, which reads it apart from the target.

    Args:
        name_or_path: of the checkpoint.
        requested: `auto` is the format saved with the tokenizer if there is one, else chat if the tokenizer has a chat
            template, else separator for a model that is trained and none for one that is used as it is: such a model
            saw no separator before, and after an end-of-sequence token it generates nothing.
        trained: whether the model is trained on the task.

    Raises:
        ModelError: for a format other than `auto` if the model is an encoder-decoder.
    """
    if config_of(name_or_path).is_encoder_decoder:
        if requested != "auto":
            raise ModelError(
                f"template is {requested!r}, but {name_or_path!r} is an encoder-decoder, which reads the source apart "
                "from the target; leave template out"
            )
        return None
    if requested != "auto":
        return requested
    tokenizer = load_tokenizer(name_or_path)
    if (saved := saved_source_format(tokenizer)) is not None:
        return saved
    return "chat" if tokenizer.chat_template else "separator" if trained else "none"


def scratch_task_tokenizer(limits: TextLimits, scratch: Scratch, tokenizer: PreTrainedTokenizerBase) -> TaskTokenizer:
    """The task tokenizer of a model that will be built from scratch for the task."""
    if not scratch.has_encoder:
        set_source_format(tokenizer, "separator")
    own = TaskTokenizer(
        tokenizer,
        scratch.has_encoder,
        limits.prompt,
        limits.max_source_tokens,
        limits.max_target_tokens,
        system=limits.system,
        keep_reasoning=bool(limits.keep_reasoning),
    )
    return replace(own, max_positions=max_positions(ARCHITECTURES[scratch.architecture](scratch, own.longest)))
