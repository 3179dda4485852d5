"""Checkpoints: loading any encoder-decoder or decoder-only model, saving one, and its size.

Only safetensors are read and written, and code that comes with a checkpoint is never run.
"""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
)
from transformers.utils import find_adapter_config_file, logging

from understudy.errors import ModelError, first_line
from understudy.models.adapters import has_adapter, merged_copy
from understudy.models.generation_format import checkpoint_format, format_of

_AUTO_CLASSES = {True: AutoModelForSeq2SeqLM, False: AutoModelForCausalLM}
"""Whether a model is an encoder-decoder -> the class of transformers that builds it."""
_DEQUANTIZE = {
    "bitsandbytes": "load it with transformers and save model.dequantize()",
    **{
        method: f"load it with transformers and quantization_config={config}(dequantize=True), and save it"
        for method, config in (
            ("compressed-tensors", "CompressedTensorsConfig"),
            ("fp8", "FineGrainedFP8Config"),
            ("mxfp4", "Mxfp4Config"),
        )
    },
}
"""`quant_method` -> how its weights become floats again, where transformers can do that."""


def load_network(name_or_path: str, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """An encoder-decoder or decoder-only model in eval mode; of its generation settings the format alone is kept.

    Args:
        name_or_path: a name on the hub, or a local folder.
        dtype: of the loaded weights, whatever the saved ones have.

    Raises:
        ModelError: if there is no such checkpoint, if it cannot be read or lacks weights, or if the model is
            neither an encoder-decoder nor decoder-only.
    """
    with no_progress_bars():
        try:
            config = config_of(name_or_path)
            _refuse_other_models(name_or_path, config)
            model, found = _AUTO_CLASSES[bool(config.is_encoder_decoder)].from_pretrained(
                name_or_path,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except ModelError:
            raise
        except Exception as error:  # whatever transformers meets in a damaged checkpoint
            raise _unreadable(name_or_path, error) from error
    if missing := sorted(found["missing_keys"]):
        raise ModelError(
            f"the checkpoint {name_or_path!r} lacks {len(missing)} of the model's weights ({missing[0]}, ...), "
            "which would stay random; use a checkpoint that was saved with its language-model head"
        )
    model.generation_config = format_of(model.generation_config)
    if config.is_encoder_decoder:
        own = _own_start(model.config)
        model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id if own is None else own
    return model.eval()


def config_of(name_or_path: str) -> PretrainedConfig:
    """The config of a checkpoint; no weights are read.

    Raises:
        ModelError: if there is no such checkpoint, it is quantised, or it holds an adapter.
    """
    _refuse_adapter(name_or_path)
    try:
        config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
    except Exception as error:  # wrong types, nulls and lists in a config reach code that does not expect them
        raise _unreadable(name_or_path, error) from error
    if quantised := getattr(config, "quantization_config", None):
        method = dict(quantised if isinstance(quantised, dict) else vars(quantised)).get("quant_method", "unknown")
        method = getattr(method, "value", method)
        raise ModelError(
            f"{name_or_path!r} is quantised (quant_method {method!r}), and networks are trained and generate with "
            "weights in float; use the checkpoint from which it was made"
            + (f", or {_DEQUANTIZE[method]}" if method in _DEQUANTIZE else "")
        )
    return config


def decoder_config(config: PretrainedConfig) -> PretrainedConfig:
    """The part of a config that describes the decoder: T5Gemma nests a config for each side, others have one."""
    nested = getattr(config, "decoder", None)
    return nested if isinstance(nested, PretrainedConfig) else config


def decoder_start(name_or_path: str, config: PretrainedConfig) -> int | None:
    """The id with which the decoder of an encoder-decoder checkpoint starts; None if the checkpoint does not say."""
    own = _own_start(config)
    return checkpoint_format(name_or_path).decoder_start_token_id if own is None else own


def _own_start(config: PretrainedConfig) -> int | None:
    """With which id a config says that the decoder starts; T5Gemma has no field for it and starts with `<bos>`."""
    own: int | None = getattr(config, "decoder_start_token_id", None)
    nested = decoder_config(config)
    return nested.bos_token_id if own is None and nested is not config else own


def max_positions(config: PretrainedConfig) -> int | None:
    """The number of positions of a model, of source and target together if it is decoder-only.

    None if there is no limit: with rotary embeddings (Llama, Qwen) and relative positions (T5).
    """
    if getattr(config, "rope_parameters", None):
        return None
    return getattr(config, "max_position_embeddings", None)


def sliding_window(config: PretrainedConfig) -> int | None:
    """The number of positions that the layers with the shortest view attend to; None: every layer attends to all."""
    window: int | None = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    if not window or not getattr(config, "use_sliding_window", True) or "sliding_attention" not in kinds:
        return None
    return window if window < (getattr(config, "max_position_embeddings", None) or window + 1) else None


def save_network(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save model and tokenizer in the Hugging Face layout.

    Equal weights and tokenizers give equal bytes. The model does not change; an adapter is merged into what is saved.
    """
    # `save_pretrained` writes to the config; without an adapter the copy shares the weights.
    saved = merged_copy(model) if has_adapter(model) else copy.copy(model)
    saved.config = copy.deepcopy(model.config)
    saved.generation_config = format_of(model.generation_config)
    with no_progress_bars():
        saved.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def parameter_count(model: PreTrainedModel, *, trained: bool = False) -> int:
    """Number of parameters, or of those that are not frozen; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad or not trained)


def checkpoint_parameter_count(name_or_path: str) -> int:
    """Parameters of a checkpoint's model; reads no weights.

    Raises:
        ModelError: if there is no such checkpoint.
    """
    config = config_of(name_or_path)
    _refuse_other_models(name_or_path, config)
    return parameter_count(without_weights(config))


def without_weights(config: PretrainedConfig) -> PreTrainedModel:
    """A model whose modules take no memory, on torch's device `meta`.

    Raises:
        ModelError: if transformers has no encoder-decoder or decoder-only model with this config.
    """
    try:
        with torch.device("meta"):
            return _AUTO_CLASSES[bool(config.is_encoder_decoder)].from_config(config)
    except Exception as error:  # sizes that do not fit each other reach the modules
        raise ModelError(
            f"cannot build a {config.model_type!r} model from its config: {first_line(error)}; correct its config.json"
        ) from error


def disk_bytes(folder: Path) -> int:
    """Size of all files in the folder and its subfolders."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _refuse_other_models(name_or_path: str, config: PretrainedConfig) -> None:
    kind = type(config)
    if config.is_encoder_decoder:
        generates = kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    else:
        # BERT and similar models are in the causal table too: they can be rebuilt as decoders, but are encoders.
        encoder_only = kind in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
        generates = kind in MODEL_FOR_CAUSAL_LM_MAPPING and not encoder_only
    if not generates:
        raise ModelError(
            f"{name_or_path!r} is a {config.model_type!r} model, which is neither an encoder-decoder nor a "
            "decoder-only text generator; use one such as BART, T5, GPT-2, OPT or Llama"
        )


def _refuse_adapter(name_or_path: str) -> None:
    """Raise ModelError for an adapter: it is no model, or might not be applied to the weights next to it."""
    try:
        found = find_adapter_config_file(name_or_path)  # where peft is installed, transformers would load it
    except OSError:  # there is no such place, which reading its config reports
        return
    if found is None:
        return
    try:
        base = json.loads(Path(found).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = "an unnamed model"
    raise ModelError(
        f"{name_or_path!r} holds an adapter (LoRA) of {base!r}; merge it with peft, "
        "PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder), save the tokenizer to "
        "the same folder, and give that folder"
    )


def _unreadable(name_or_path: str, error: Exception) -> ModelError:
    return ModelError(
        f"cannot load a model from {name_or_path!r}: {first_line(error)}; give a name on the hub, a "
        "folder that holds config.json and model.safetensors, or the sizes of a network with random weights (scratch)"
    )


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Within the context, transformers prints no progress bars: only the command line shows progress."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
