"""Converts a checkpoint to CTranslate2's files.

What a family needs for it is in `models.families`; generating with the result is in `ctranslate`. The conversion is
the only place outside the engine `hf` that loads torch weights.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ctranslate2.converters import Converter
from ctranslate2.converters.transformers import _MODEL_LOADERS
from ctranslate2.specs.attention_spec import RotaryScalingType
from ctranslate2.specs.model_spec import OPTIONAL, ModelSpec
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from understudy.errors import GenerationError, UnderstudyError, first_line
from understudy.generation.comparison import PROBE_POSITIONS, TOLERANCE, largest_gap, random_probe
from understudy.generation.ctranslate import CONVERTED_FAMILIES, CTranslate2Engine
from understudy.generation.ctranslate_settings import row_name
from understudy.generation.hf import HuggingFaceEngine
from understudy.generation.workspace import MARKER
from understudy.models.checkpoint import load_network, parameter_count, sliding_window
from understudy.models.families import FAMILIES
from understudy.models.tokenizers import load_tokenizer

FIXED_ROTARY = frozenset({"default", "linear", "llama3"})
"""Kinds of rotary embedding whose frequencies do not depend on the length of a text."""
ROTARY_FIELDS = {"": "rope_theta", "full_attention": "rope_theta", "sliding_attention": "rope_local_base_freq"}
"""Kind of layer -> field with the base of its rotary embedding in transformers 4."""
EPSILONS = ("layer_norm_epsilon", "rms_norm_eps")
SOFT_CAPS = ("final_logit_softcapping", "attn_logit_softcapping")


def unsupported(config: PretrainedConfig) -> str | None:
    """Why CTranslate2 does not generate the texts of such a model; None: it does."""
    if config.model_type not in CONVERTED_FAMILIES:
        return f"a {config.model_type!r} model (it supports {', '.join(sorted(CONVERTED_FAMILIES))})"
    for name in SOFT_CAPS:
        if cap := getattr(config, name, None):
            return f"a {config.model_type!r} model with {name} {cap} (it supports no soft caps)"
    kinds = {own.get("rope_type", "default") for own in _rotary(config).values()}
    known = ", ".join(sorted(FIXED_ROTARY))
    if other := sorted(kinds - FIXED_ROTARY):
        return f"a {config.model_type!r} model with {other[0]!r} rotary embeddings (it supports {known})"
    window = sliding_window(config)
    if window is not None and window < PROBE_POSITIONS:
        return (
            f"a {config.model_type!r} model with a sliding window of {window} tokens (only texts within the window, "
            f"which is to be at least {PROBE_POSITIONS})"
        )
    return None


def convert(checkpoint: Path, folder: Path, *, weights: str = "float32") -> None:
    """Write a checkpoint as CTranslate2's files, with what the engine needs beyond them.

    `MARKER` holds whether the model is an encoder-decoder, its number of parameters and the name of every token by
    id; rows of the embedding without a token are named `<row 7>`.

    Args:
        checkpoint: of a supported family.
        folder: exists and is empty.
        weights: type of the written weights. Others than float32 are written after those in float32 were compared.

    Raises:
        GenerationError: if the library cannot convert the model, or float32 gives other log-probabilities.
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
    if weights != "float32":
        # Loaded again: a conversion deletes parts of the model.
        _write(load_network(str(checkpoint)), tokenizer, folder, weights)


def _refused(what: str) -> GenerationError:
    return GenerationError(
        f"engine 'ctranslate2' cannot generate the texts of this model: {what}; use engine 'hf', which supports all "
        "models, or 'auto'"
    )


def _write(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, weights: str | None = None
) -> None:
    tokens = [row_name(row) for row in range(model.get_output_embeddings().weight.shape[0])]
    for token, token_id in tokenizer.get_vocab().items():
        tokens[token_id] = token
    facts = {
        "is_encoder_decoder": bool(model.config.is_encoder_decoder),
        "parameters": parameter_count(model),
        "tokens": tokens,
    }
    _LoadedConverter(model, tokenizer, tokens).convert(str(folder), quantization=weights, force=True)
    (folder / MARKER).write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")


def _rotary(config: PretrainedConfig) -> dict[str, dict[str, Any]]:
    """Kind of layer -> its rotary embedding; the kind is empty where all layers have the same, or none is rotary."""
    found: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    by_kind = {kind: own for kind, own in found.items() if isinstance(own, dict)}
    return by_kind or ({"": found} if found else {})


def _older_fields(config: PretrainedConfig) -> dict[str, object]:
    """What transformers 4 had in other fields, which the converter reads.

    It is to see neither sliding windows, which `windowed` handles, nor scaled rotary embeddings (Llama 3.1), which it
    gets wrong without an error: `_scale_rotary` sets these.
    """
    fields: dict[str, object] = {}
    for kind, own in _rotary(config).items():
        fields |= {ROTARY_FIELDS[kind]: own["rope_theta"], "rope_parameters": None}
    if sliding_window(config) is not None:
        fields["sliding_window"] = 0
    return fields


def _scale_rotary(spec: ModelSpec, model: PreTrainedModel, rotary: Mapping[str, Mapping[str, Any]]) -> None:
    """Scale each frequency of the layers' rotary embeddings as the model does, by one divisor each."""
    kinds = getattr(model.config, "layer_types", None) or []
    rotates = getattr(model.config, "no_rope_layers", None) or [1] * len(spec.decoder.layer)
    for number, layer in enumerate(spec.decoder.layer if rotary else ()):
        kind = kinds[number] if "" not in rotary else ""
        if rotary[kind].get("rope_type", "default") == "default" and rotates[number]:
            continue
        scaled = getattr(model.model.rotary_emb, f"{kind}_inv_freq" if kind else "inv_freq")
        powers = torch.arange(0, 2 * len(scaled), 2) / (2 * len(scaled))
        divisors = (rotary[kind]["rope_theta"] ** -powers / scaled).float()
        if not rotates[number]:  # despite its name, the field has a 1 for layers that rotate (SmolLM3)
            divisors = torch.full_like(divisors, 1e30)  # so slowly that no position rotates
        # Not by assignment, which refuses what the loader did not ask for.
        vars(layer.self_attention).update(
            rotary_scaling_type=torch.tensor(RotaryScalingType.Su, dtype=torch.int8),
            rotary_scaling_long_factor=divisors,
            rotary_scaling_short_factor=divisors,
        )


def _complete(spec: ModelSpec, config: PretrainedConfig) -> None:
    """Sets what some loaders leave at the library's defaults: the scale of queries, and the width of a head."""
    scalar, width = getattr(config, "query_pre_attn_scalar", None), getattr(config, "head_dim", None)
    for layer in spec.decoder.layer:
        if scalar:
            layer.self_attention.queries_scale = float(scalar**-0.5)
        if width:
            vars(layer.self_attention)["head_dim"] = torch.tensor(width, dtype=torch.int32)


class _LoadedConverter(Converter):  # type: ignore[misc]
    """The library's converter for a model in memory, parts of which it deletes."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: list[str]) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._tokens = tokens

    def _load(self) -> ModelSpec:
        config, rotary = self._model.config, _rotary(self._model.config)
        needs = FAMILIES[config.model_type].conversion
        assert needs is not None  # noqa: S101 - `unsupported` refuses such families
        config.update({**needs.config, **_older_fields(config)})
        for stack in FAMILIES[config.model_type].stacks.values():
            for layer in self._model.get_submodule(stack.layer_list):
                for attention in stack.attentions.values():
                    vars(layer.get_submodule(attention)).update(needs.attention)
        loader = _MODEL_LOADERS[needs.loader or type(config).__name__]
        with torch.no_grad():
            spec = loader.get_model_spec(self._model)
            _scale_rotary(spec, self._model, rotary)
        _complete(spec, config)
        loader.set_config(spec.config, self._model, self._tokenizer)
        for name in EPSILONS:
            if epsilon := getattr(config, name, None):
                spec.config.layer_norm_epsilon = epsilon
        for name in ("bos_token", "unk_token"):  # some loaders write a null, which the library cannot read
            if getattr(spec.config, name, "") is None:
                setattr(spec.config, name, "")
        # Loaders guess these: Gemma's `<end_of_turn>` from the chat template, mBART's start from the tokenizer's name.
        spec.config.eos_token = self._tokenizer.eos_token
        if config.is_encoder_decoder:
            start = config.decoder_start_token_id
            spec.config.decoder_start_token = self._tokens[start]
        # Not the loader's own list, which lacks embedding rows that have no token.
        loader.set_vocabulary(spec, self._tokens)
        if needs.unscaled_outputs and not getattr(config, "scale_decoder_outputs", False):
            spec.decoder.scale_outputs = OPTIONAL
        return spec
