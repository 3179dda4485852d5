"""Vocabulary trimming of a network: the rows of its embeddings and head that a trimmed tokenizer keeps.

Which tokens are kept is in `vocabulary`.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel

from understudy.errors import ModelError
from understudy.models.generation_format import FORMAT_FIELDS, format_of

SIZES = ("vocab_size", "vocab_size_per_layer_input", "decoder_vocab_size")
"""Fields of configs that count rows. Gemma 3n has fewer rows in its embeddings per layer than in the others."""
ROW_LISTS = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids")
"""Settings of ids that may not be generated: of those whose token is gone nothing is left to say."""


def keep_rows(model: PreTrainedModel, kept: Sequence[int]) -> PreTrainedModel:
    """A new model with these rows of all embeddings, the head and their biases; the given model does not change.

    Its logits are those of the whole model at these ids, so that its loss is the whole one renormalised over the kept
    tokens.

    Args:
        model: an encoder-decoder or decoder-only model.
        kept: ids of the rows, in the order of their new ids.

    Raises:
        ModelError: if a weight is of another shape and not by its rows.
    """
    trimmed = type(model)(trimmed_config(model.config, kept))
    rows = torch.tensor(kept, device=model.device)
    weights, shapes = model.state_dict(), {name: weight.shape for name, weight in trimmed.state_dict().items()}
    trimmed.load_state_dict({name: _selected(name, weights[name], shape, rows) for name, shape in shapes.items()})
    trimmed.generation_config = trimmed_format(model.generation_config, kept)
    return trimmed.to(device=model.device, dtype=model.dtype).train(model.training)


def trimmed_config(config: PretrainedConfig, kept: Sequence[int]) -> PretrainedConfig:
    """The config of a model with these rows: its sizes, and the new ids of the tokens that it names."""
    own, places = copy.deepcopy(config), {old: new for new, old in enumerate(kept)}
    for part in _parts(own):
        for name, value in list(vars(part).items()):
            if name in SIZES and value is not None:
                setattr(part, name, len(kept))
            elif _names_tokens(name):
                setattr(part, name, _renumbered(value, places))
    return own


def trimmed_format(settings: GenerationConfig | None, kept: Sequence[int]) -> GenerationConfig:
    """The format of generated texts with the new ids of its tokens."""
    own, places = format_of(settings).to_dict(), {old: new for new, old in enumerate(kept)}
    found = {name: _renumbered(own.get(name), places) for name in FORMAT_FIELDS}
    return GenerationConfig(**{name: value for name, value in found.items() if value not in (None, [])})


def named_tokens(config: PretrainedConfig, settings: GenerationConfig | None) -> set[int]:
    """The ids of tokens that a model's config or its generation settings name, such as the end of a text."""
    fields = [field for part in _parts(config) for field in vars(part).items() if _names_tokens(field[0])]
    fields += [(name, value) for name, value in format_of(settings).to_dict().items() if name in FORMAT_FIELDS]
    values = [value for name, value in fields if name not in ROW_LISTS]
    listed = [value if isinstance(value, list | tuple) else [value] for value in values]
    return {one for value in listed for one in value if isinstance(one, int) and one >= 0}


def _names_tokens(field: str) -> bool:
    return field.endswith(("token_id", "token_ids")) or field in ROW_LISTS


def _renumbered(value: Any, places: Mapping[int, int]) -> Any:  # noqa: ANN401 - an id, or lists of ids
    """The new ids; what has none is left out."""
    if isinstance(value, list | tuple):
        if value and all(isinstance(item, list | tuple) for item in value):
            return [[places[old] for old in row] for row in value if all(old in places for old in row)]
        return [places[old] for old in value if old in places]
    return places.get(value) if isinstance(value, int) else value


def _parts(config: PretrainedConfig) -> Iterator[PretrainedConfig]:
    """A config and those within it, as of an encoder and a decoder."""
    yield config
    for value in vars(config).values():
        if isinstance(value, PretrainedConfig):
            yield from _parts(value)


def _selected(name: str, weight: Tensor, shape: torch.Size, rows: Tensor) -> Tensor:
    axes = [axis for axis, (old, new) in enumerate(zip(weight.shape, shape, strict=True)) if old != new]
    if not axes:
        return weight
    if len(axes) > 1 or shape[axes[0]] != len(rows) or weight.shape[axes[0]] <= int(rows.max()):
        raise ModelError(
            f"trimming the vocabulary to {len(rows)} tokens failed: {name} has the shape {tuple(weight.shape)} and "
            f"should have {tuple(shape)}; leave vocab_size out"
        )
    return weight.index_select(axes[0], rows)
