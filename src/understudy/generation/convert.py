"""Converts a checkpoint to CTranslate2's files.

What a family needs for it is in `models.families`; generating with the result is in `ctranslate`. The conversion is
the only place outside the engine `hf` that loads torch weights.
"""

import json
from pathlib import Path

import torch
from ctranslate2.converters import Converter
from ctranslate2.converters.transformers import _MODEL_LOADERS
from ctranslate2.specs.model_spec import OPTIONAL, ModelSpec
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from understudy.errors import GenerationError, UnderstudyError, first_line
from understudy.generation.comparison import PROBE_POSITIONS, TOLERANCE, largest_gap, random_probe
from understudy.generation.ctranslate import CONVERTED_FAMILIES, CTranslate2Engine, row_name
from understudy.generation.hf import HuggingFaceEngine
from understudy.generation.workspace import MARKER
from understudy.models.checkpoint import load_network, parameter_count, sliding_window
from understudy.models.families import FAMILIES
from understudy.models.tokenizers import load_tokenizer


def unsupported(config: PretrainedConfig) -> str | None:
    """Why CTranslate2 does not generate the texts of such a model; None: it does."""
    if config.model_type not in CONVERTED_FAMILIES:
        return f"a {config.model_type!r} model (it supports {', '.join(sorted(CONVERTED_FAMILIES))})"
    # With transformers 5 the converter gets every scaled rotary embedding (Llama 3.1) wrong, without an error.
    rotary = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rotary != "default":
        return f"a {config.model_type!r} model with {rotary!r} rotary embeddings (it supports 'default')"
    window = sliding_window(config)
    if window is not None and window < PROBE_POSITIONS:
        return (
            f"a {config.model_type!r} model with a sliding window of {window} tokens (only texts within the window, "
            f"which is to be at least {PROBE_POSITIONS})"
        )
    return None


def convert(checkpoint: Path, folder: Path) -> None:
    """Write a checkpoint as CTranslate2's files in float32, with what the engine needs beyond them.

    `MARKER` holds whether the model is an encoder-decoder, its number of parameters and the name of every token by
    id; rows of the embedding without a token are named `<row 7>`.

    Args:
        checkpoint: of a supported family.
        folder: exists and is empty.

    Raises:
        GenerationError: if the library cannot convert the model, or the result gives other log-probabilities.
        ModelError: if the checkpoint cannot be loaded.
    """
    model, tokenizer = load_network(str(checkpoint)), load_tokenizer(str(checkpoint))
    probe = random_probe(model.config, tokenizer)
    # Before the conversion, which deletes parts of the model.
    expected = HuggingFaceEngine(model, tokenizer).score(*probe)
    try:
        _write(model, tokenizer, folder)
        found = CTranslate2Engine(folder, threads=1).score(*probe)
    except (UnderstudyError, OSError):
        raise
    except Exception as error:  # the library raises whatever its code meets
        raise _refused(f"its conversion fails ({first_line(error)})") from error
    gap = largest_gap(expected, found)
    if gap > TOLERANCE:
        raise _refused(
            f"its conversion gives other log-probabilities: they differ by {gap:.2g} nats per token, and {TOLERANCE} "
            "is allowed"
        )


def _refused(what: str) -> GenerationError:
    return GenerationError(
        f"engine 'ctranslate2' cannot generate the texts of this model: {what}; use engine 'hf', which supports all "
        "models, or 'auto'"
    )


def _write(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    tokens = [row_name(row) for row in range(model.get_output_embeddings().weight.shape[0])]
    for token, token_id in tokenizer.get_vocab().items():
        tokens[token_id] = token
    facts = {
        "is_encoder_decoder": bool(model.config.is_encoder_decoder),
        "parameters": parameter_count(model),
        "tokens": tokens,
    }
    _LoadedConverter(model, tokenizer, tokens).convert(str(folder), force=True)
    (folder / MARKER).write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")


def _older_fields(config: PretrainedConfig) -> dict[str, float]:
    """What transformers 4 had in other fields, which the converter reads; and no window (`windowed` handles it)."""
    fields: dict[str, float] = {}
    rotary = getattr(config, "rope_parameters", None) or {}
    for kind, name in (("full_attention", "rope_theta"), ("sliding_attention", "rope_local_base_freq")):
        if kind in rotary:
            fields[name] = rotary[kind]["rope_theta"]
    if sliding_window(config) is not None:
        fields["sliding_window"] = 0
    return fields


class _LoadedConverter(Converter):  # type: ignore[misc]
    """The library's converter for a model in memory, parts of which it deletes."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: list[str]) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._tokens = tokens

    def _load(self) -> ModelSpec:
        config = self._model.config
        needs = FAMILIES[config.model_type].conversion
        assert needs is not None  # noqa: S101 - `unsupported` refuses such families
        config.update({**needs.config, **_older_fields(config)})
        loader = _MODEL_LOADERS[type(config).__name__]
        with torch.no_grad():
            spec = loader.get_model_spec(self._model)
        loader.set_config(spec.config, self._model, self._tokenizer)
        # Gemma's loader guesses `<end_of_turn>` from the chat template; the format saved with the checkpoint decides.
        spec.config.eos_token = self._tokenizer.eos_token
        # Not the loader's own list, which lacks embedding rows that have no token.
        loader.set_vocabulary(spec, self._tokens)
        if needs.unscaled_outputs and not getattr(config, "scale_decoder_outputs", False):
            spec.decoder.scale_outputs = OPTIONAL
        return spec
