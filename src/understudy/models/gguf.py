"""Reads a GGUF file (llama.cpp's format) as a network in float32 with its tokenizer, in the Hugging Face layout."""

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from understudy.errors import ModelError, first_line
from understudy.models.checkpoint import no_progress_bars, parameter_count, save_network, without_weights

SUFFIX = ".gguf"


def is_gguf(name_or_path: str) -> bool:
    """Whether this names a GGUF file and not a checkpoint in the Hugging Face layout."""
    return name_or_path.lower().endswith(SUFFIX)


def save_gguf(file: Path, folder: Path) -> int:
    """Save the network and the tokenizer of a GGUF file; quantised weights become floats.

    Args:
        file: what is read.
        folder: will hold config.json, model.safetensors and the tokenizer.

    Returns:
        The number of parameters.

    Raises:
        ModelError: if transformers cannot read the file, or it lacks weights.
    """
    place, name = str(file.parent), file.name
    # The bars of transformers' GGUF reader cannot be turned off.
    with no_progress_bars(), redirect_stderr(StringIO()):
        try:
            tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=name)
            config = AutoConfig.from_pretrained(place, gguf_file=name)
            loaded, found = AutoModelForCausalLM.from_pretrained(
                place, gguf_file=name, config=config, dtype=torch.float32, output_loading_info=True
            )
        except Exception as error:  # whatever the reader meets in a damaged or unknown file
            raise _unreadable(file, error) from error
    if missing := sorted(found["missing_keys"]):
        raise ModelError(
            f"{str(file)!r} lacks {len(missing)} of the model's weights ({missing[0]}, ...), which would stay random; "
            "give a file that holds the whole model in one part"
        )
    config = type(config).from_dict({k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"})
    # A new model: the loaded one is marked as quantised, and is not saved.
    network = without_weights(config)
    network.load_state_dict(loaded.state_dict(), assign=True)
    network.tie_weights()
    network.generation_config = GenerationConfig.from_model_config(config)
    save_network(network, tokenizer, folder)
    return parameter_count(network)


def _unreadable(file: Path, error: Exception) -> ModelError:
    if not file.is_file():
        return ModelError(
            f"there is no file {str(file)!r}; give the path of a GGUF file, a folder, or a name on the hub"
        )
    if isinstance(error, ImportError):
        return ModelError(
            f"reading the GGUF file {str(file)!r} needs packages that are not installed: {first_line(error)}; install "
            "them: pip install gguf accelerate"
        )
    return ModelError(
        f"transformers cannot read the GGUF file {str(file)!r}: {first_line(error)}; give the checkpoint from which it "
        "was made, in the Hugging Face layout"
    )
