"""What a checkpoint's generation settings say of its format: how texts start and end, and which tokens are no text.

Settings of taste (beams, penalties, lengths, sampling) are dropped when a checkpoint is loaded: the recipe decides
those. `forced_eos_token_id` is dropped too, because it makes truncated texts look finished.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import ModelOutput
from transformers.utils import GENERATION_CONFIG_NAME, cached_file

from understudy.errors import ModelError, first_line

FORMAT_FIELDS = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
)
"""The fields of a GenerationConfig that belong to a checkpoint."""


def format_of(settings: GenerationConfig | None) -> GenerationConfig:
    """The generation settings with the format alone."""
    own = settings.to_dict() if settings else {}
    return GenerationConfig(**{name: own[name] for name in FORMAT_FIELDS if own.get(name) is not None})


def checkpoint_format(checkpoint: Path | str) -> GenerationConfig:
    """The format of a checkpoint; empty if it has no generation settings.

    Raises:
        ModelError: if its generation settings cannot be read: without them texts could start or end otherwise.
    """
    try:
        return format_of(GenerationConfig.from_pretrained(checkpoint))
    except Exception as error:  # transformers raises OSError for a missing and for a damaged file
        if isinstance(error, OSError) and not has_file(str(checkpoint), GENERATION_CONFIG_NAME):
            return GenerationConfig()
        raise ModelError(
            f"cannot read {GENERATION_CONFIG_NAME} of {str(checkpoint)!r}, which says how texts start and end: "
            f"{first_line(error)}; correct it, or remove it if the model's texts have no format of their own"
        ) from error


def has_file(name_or_path: str, file: str) -> bool:
    """Whether a checkpoint has a file, in its folder or, once it was loaded from the hub, in the hub's cache."""
    try:
        return cached_file(name_or_path, file, local_files_only=True) is not None
    except OSError:
        return False


def format_ids(settings: GenerationConfig) -> Iterator[tuple[str, object]]:
    """Each id that a format names, with its field."""
    for name in FORMAT_FIELDS:
        value = getattr(settings, name, None)
        rows = value if isinstance(value, list) else [] if value is None else [value]
        for row in rows:
            yield from ((name, one) for one in (row if isinstance(row, list) else [row]))


def end_ids(settings: GenerationConfig, eos: int) -> list[int]:
    """The ids that end a text: the tokenizer's, then others of the checkpoint (Llama 3 and Gemma have several)."""
    own = settings.eos_token_id
    others = own if isinstance(own, list) else [] if own is None else [own]
    return list(dict.fromkeys([eos, *others]))


def up_to_end(row: Sequence[int], ends: Sequence[int], stops: Collection[int] = ()) -> tuple[int, ...]:
    """A generated row up to its first end, which becomes the tokenizer's own, `ends[0]`.

    A token of `stops` ends the row too; it stays, because it may hold text, and `ends[0]` follows.
    """
    length = next((index for index, token_id in enumerate(row) if token_id in ends or token_id in stops), None)
    if length is None:
        return tuple(row)
    return (*row[: length + (row[length] in stops)], ends[0])


def generated_tokens(row: Sequence[int], stops: Collection[int] = ()) -> int:
    """How many of a row's tokens the model generated: `up_to_end` puts an end after a token of `stops`."""
    return len(row) - (len(row) > 1 and row[-2] in stops)


def ids_without_token(rows: int, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The rows of an output layer that are no token (T5, Qwen and Phi pad their vocabularies)."""
    return sorted(set(range(rows)) - set(tokenizer.get_vocab().values()))


@contextmanager
def without_ids(model: PreTrainedModel, ids: Sequence[int]) -> Iterator[None]:
    """Within the context, the logits of these ids are minus infinity, so that no probability is on them."""
    if not ids:
        yield
        return
    index = torch.tensor(ids, device=model.device)

    def mask(_module: nn.Module, _inputs: object, output: ModelOutput) -> None:
        output.logits.index_fill_(-1, index, float("-inf"))

    handle = model.register_forward_hook(mask)
    try:
        yield
    finally:
        handle.remove()
