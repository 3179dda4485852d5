"""Checks of a checkpoint and its tokenizer that need no weights, made before anything is trained.

Each check is a pure function: it raises a ModelError, or returns what it counted. Loading and comparing networks is not
part of this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from understudy.errors import ModelError
from understudy.models.checkpoint import config_of, decoder_start, without_weights
from understudy.models.generation_format import checkpoint_format, format_ids
from understudy.models.task_tokenizer import TaskTokenizer
from understudy.models.tokenizers import load_tokenizer

ROUND_TRIP_TEXTS = 2_000
"""Targets of which a round trip is checked: all of a small task, and evenly spaced ones of a large task."""


@dataclass(frozen=True)
class RoundTrip:
    """How many texts a tokenizer changes: decode(encode(text)) differs from the text in normal form NFC."""

    checked: int
    changed: int
    text: str | None = None
    """The first text that changes."""
    decoded: str | None = None
    """What it becomes."""


def round_trip(tokenizer: TaskTokenizer, targets: Sequence[str], *, most: int = ROUND_TRIP_TEXTS) -> RoundTrip:
    """Encodes and decodes targets, at most `most` of them, evenly spaced.

    A text that only changes its Unicode normal form counts as unchanged: metrics compare texts in NFC.
    """
    texts = targets[:: -(-len(targets) // most)] if len(targets) > most else targets
    decoded = [tokenizer.decode(row) for row in tokenizer.encode_targets(texts)]
    changed = [
        (before, after)
        for before, after in zip(texts, decoded, strict=True)
        if normalize("NFC", before) != normalize("NFC", after)
    ]
    first = changed[0] if changed else (None, None)
    return RoundTrip(len(texts), len(changed), *first)


def refuse_unusable_checkpoint(name_or_path: str) -> None:
    """Check that a checkpoint and its tokenizer can be trained and generate, without reading weights.

    Raises:
        ModelError: if there is no checkpoint, it also reads images or sound, it is quantised or only an adapter, its
            weights are pickled, its tokenizer is missing, needs another package or has tokens without an embedding, its
            generation settings are damaged, or no token ends a text or starts a decoder's.
    """
    config = config_of(name_or_path)
    _refuse_other_inputs(name_or_path, config)
    _refuse_pickled_weights(name_or_path)
    tokenizer = load_tokenizer(name_or_path)
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of {name_or_path!r} has no end-of-sequence token, so that no text would end; set eos_token "
            "in its tokenizer_config.json"
        )
    rows = without_weights(config).get_input_embeddings().weight.shape[0]
    _refuse_tokens_without_embedding(name_or_path, rows, tokenizer)
    _refuse_ids_without_embedding(name_or_path, rows)
    if config.is_encoder_decoder and decoder_start(name_or_path, config) is None:
        raise ModelError(
            f"{name_or_path!r} does not say with which token its decoder starts; set decoder_start_token_id in its "
            "config.json (for mBART: the id of the target language's token, such as that of 'ro_RO')"
        )


def _refuse_other_inputs(name_or_path: str, config: PretrainedConfig) -> None:
    other = [name.removesuffix("_config") for name in ("vision_config", "audio_config") if getattr(config, name, None)]
    if other:
        raise ModelError(
            f"{name_or_path!r} holds a model of text and {' and '.join(other)} ({config.model_type}), and only text "
            "models can be teachers or students; load its text model with transformers (AutoModelForCausalLM) and save "
            "that with its tokenizer"
        )


def _refuse_pickled_weights(name_or_path: str) -> None:
    folder = Path(name_or_path)
    if folder.is_dir() and not list(folder.glob("*.safetensors")) and list(folder.glob("*.bin")):
        raise ModelError(
            f"{name_or_path!r} holds its weights only as pickled *.bin files, which can run code and are not read; "
            "load the model with transformers and save it again, which writes model.safetensors"
        )


def _refuse_tokens_without_embedding(name_or_path: str, rows: int, tokenizer: PreTrainedTokenizerBase) -> None:
    beyond = sorted((token_id, token) for token, token_id in tokenizer.get_vocab().items() if token_id >= rows)
    if beyond:
        raise ModelError(
            f"the tokenizer of {name_or_path!r} has {len(tokenizer)} tokens and the model {rows} embeddings: "
            f"{beyond[0][1]!r} (id {beyond[0][0]}) has none; save the model after "
            "resize_token_embeddings(len(tokenizer)), or use the tokenizer it was trained with"
        )


def _refuse_ids_without_embedding(name_or_path: str, rows: int) -> None:
    for field, token_id in format_ids(checkpoint_format(name_or_path)):
        if not isinstance(token_id, int) or token_id >= rows:
            raise ModelError(
                f"generation_config.json of {name_or_path!r} has {field} {token_id!r}, which is no id of the model's "
                f"{rows} embeddings; correct it, or remove the field"
            )
