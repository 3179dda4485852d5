"""Networks on disk: load any seq2seq or causal checkpoint, save one, and say how large it is.

Only safetensors are read or written, and code that comes with a checkpoint is never run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
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
from transformers.utils import logging

from understudy.errors import ModelError, first_line


def load_network(name_or_path: str, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """An encoder-decoder or decoder-only network in eval mode.

    Args:
        name_or_path: a name on the hub or a local folder.
        dtype: the type of its weights, whatever they were saved as.

    Raises:
        ModelError: if there is no such checkpoint, if it cannot be read or lacks weights, or if it is
            neither an encoder-decoder nor a decoder-only network.
    """
    with no_progress_bars():
        try:
            config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
            _refuse_other_networks(name_or_path, config)
            auto_class = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
            model, found = auto_class.from_pretrained(
                name_or_path,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except ModelError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise _unreadable(name_or_path, error) from error
    if missing := sorted(found["missing_keys"]):
        raise ModelError(
            f"the checkpoint {name_or_path!r} lacks {len(missing)} of the network's weights ({missing[0]}, ...), "
            "which would stay random; use a checkpoint that was saved with its language-model head"
        )
    return model.eval()


def config_of(name_or_path: str) -> PretrainedConfig:
    """What a checkpoint says of its network; reads no weights.

    Raises:
        ModelError: if there is no such checkpoint.
    """
    try:
        return AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(name_or_path, error) from error


def max_positions(config: PretrainedConfig) -> int | None:
    """How many positions a network counts, of source and target together where it is decoder-only.

    None where none is the last: rotary networks turn a position (Llama, Qwen), T5 looks at distances.
    """
    if getattr(config, "rope_parameters", None):
        return None
    return getattr(config, "max_position_embeddings", None)


def save_network(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write network and tokenizer so that any Hugging Face tool can load the folder.

    Equal weights and tokenizers give equal bytes.
    """
    with no_progress_bars():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def parameter_count(model: PreTrainedModel) -> int:
    """Weights of the network; tied ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def disk_bytes(folder: Path) -> int:
    """Bytes of all files in the folder and below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _refuse_other_networks(name_or_path: str, config: PretrainedConfig) -> None:
    kind = type(config)
    if config.is_encoder_decoder:
        writes = kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    else:
        # BERT and its kin are in the causal table too: they can be rebuilt as decoders, but are none.
        encoder_only = kind in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
        writes = kind in MODEL_FOR_CAUSAL_LM_MAPPING and not encoder_only
    if not writes:
        raise ModelError(
            f"{name_or_path!r} is a {config.model_type!r} network, which is neither an encoder-decoder nor a "
            "decoder-only text generator; use one such as BART, T5, GPT-2, OPT or Llama"
        )


def _unreadable(name_or_path: str, error: Exception) -> ModelError:
    return ModelError(
        f"cannot load a network from {name_or_path!r}: {first_line(error)}; give a name on the hub, or a "
        "folder that holds config.json and model.safetensors"
    )


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Progress belongs to the command line; the library prints nothing."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
