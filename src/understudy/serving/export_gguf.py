"""The format `gguf`: one file for llama.cpp and the programs that use it; decoder-only models.

The file is written with the package `gguf`, and proven by a llama.cpp server of the package `xllamacpp`.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

from transformers import PreTrainedModel

from understudy.config.decoding import Decoding, Sampling
from understudy.errors import GenerationError, first_line
from understudy.models.checkpoint import config_of, load_network
from understudy.models.generation_format import checkpoint_format, end_ids
from understudy.progress import ProgressCallback
from understudy.serving.export_hf import OPTIONS, write_decoding, write_tokenizer
from understudy.serving.export_target import ExportTarget
from understudy.serving.gguf_network import (
    TYPES,
    GgufFamily,
    gguf_family,
    network_fields,
    rotary_divisors,
    tensors,
    type_of,
)
from understudy.serving.gguf_tokenizer import tokenizer_fields
from understudy.store.disk import write_text

FILE = "model.gguf"
MOST_OTHER_INPUTS = 0.01
"""Share of sources that llama.cpp may read as other token ids; more of them, and the tokenizer is refused."""
_ROTARY = "rope_freqs.weight"
_TIMEOUT_S = 600
_MARGIN = 64
"""Positions beyond the longest source and text."""


def write_gguf(target: ExportTarget) -> None:
    """Write the file, and next to it the tokenizer and the decoding as transformers reads them.

    Raises:
        GenerationError: if packages are missing, or llama.cpp cannot have the model or its tokenizer.
    """
    import_packages()
    checkpoint, longest = str(target.deployment.checkpoint), target.reader.longest
    family = gguf_family(config_of(checkpoint), longest)
    own = checkpoint_format(checkpoint)
    if own.suppress_tokens or own.bad_words_ids:
        raise GenerationError("format gguf was requested, but it has no place for the tokens that the model suppresses")
    described = tokenizer_fields(target.reader.tokenizer)
    write_tokenizer(target)
    write_decoding(target)
    write_text(target.folder / OPTIONS, json.dumps(_options(target), indent=2) + "\n")
    model = load_network(checkpoint)
    _write(target, model, family, described)


def _write(target: ExportTarget, model: PreTrainedModel, family: GgufFamily, described: dict[str, Any]) -> None:
    import gguf

    tokenizer, architecture = target.reader.tokenizer, family.architecture
    writer = gguf.GGUFWriter(target.folder / FILE, architecture)
    writer.add_name(target.deployment.run)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{TYPES[target.precision]}"])
    for name, value in network_fields(model, family, target.reader.longest).items():
        _add(writer, f"{architecture}.{name}", value)
    ends = end_ids(checkpoint_format(target.deployment.checkpoint), tokenizer.eos_token_id)
    own_ends = dict(zip(("eos", "eot", "eom"), ends, strict=False))
    ids = {**own_ends, "bos": tokenizer.bos_token_id, "padding": tokenizer.pad_token_id}
    for name, value in described.items():
        _add(writer, f"tokenizer.ggml.{name}", value)
    for name, number in ids.items():
        if number is not None:
            writer.add_uint32(f"tokenizer.ggml.{name}_token_id", number)
    writer.add_chat_template(tokenizer.chat_template)
    for name, value in sampling(target.deployment.decoding).items():
        _add(writer, f"general.sampling.{ {'temperature': 'temp'}.get(name, name) }", value)
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, architecture.upper()), model.config.num_hidden_layers)
    for name, weight in tensors(model, family, len(described["tokens"])):
        kind = gguf.GGMLQuantizationType[type_of(name, weight, target.precision)]
        data = gguf.quants.quantize(weight.numpy(), kind)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), data, raw_dtype=kind)
    divisors = rotary_divisors(model)
    if divisors is not None:
        writer.add_tensor(_ROTARY, divisors.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _options(target: ExportTarget) -> dict[str, float]:
    """The settings of a request for one source."""
    return {"max_tokens": target.reader.max_target_tokens, **sampling(target.deployment.decoding)}


def _add(writer: Any, name: str, value: object) -> None:  # noqa: ANN401 - the optional package's writer
    match value:
        case bool():
            writer.add_bool(name, value)
        case int():
            writer.add_uint32(name, value)
        case float():
            writer.add_float32(name, value)
        case str():
            writer.add_string(name, value)
        case _:
            writer.add_array(name, value)


def sampling(decoding: Decoding) -> dict[str, float]:
    """The settings of a request to llama.cpp; beams, which it has not, become greedy."""
    if isinstance(decoding, Sampling):
        return {"temperature": decoding.temperature, "top_k": decoding.top_k, "top_p": decoding.top_p}
    return {"temperature": 0.0}


def texts_of_gguf(
    target: ExportTarget, sources: Sequence[str], rows: Sequence[Sequence[int]], progress: ProgressCallback
) -> list[str]:
    """What a llama.cpp server answers to each source as the only message.

    Raises:
        GenerationError: if it reads other token ids than the evaluated ones.
    """
    texts, others = [], 0
    with _server(target) as address:
        for source, row in zip(sources, rows, strict=True):
            turns = [{"role": "user", "content": source}]
            prompt = _post(f"{address}/apply-template", {"messages": turns})["prompt"]
            found = _post(f"{address}/tokenize", {"content": prompt, "add_special": True, "parse_special": True})
            others += found["tokens"] != list(row)
            request = {"messages": turns, "seed": 0, **_options(target)}
            answer = _post(f"{address}/v1/chat/completions", request)
            texts.append(str(answer["choices"][0]["message"]["content"] or "").strip())
            progress(1)
    if others > MOST_OTHER_INPUTS * len(sources):
        raise GenerationError(
            f"llama.cpp reads {others} of {len(sources)} test sources as other token ids than were evaluated, so this "
            "tokenizer cannot be written right; use format hf or ct2"
        )
    return texts


@contextmanager
def _server(target: ExportTarget) -> Iterator[str]:
    """The address of a llama.cpp server with the file; it answers one request at a time."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.n_ctx = str(target.folder / FILE), target.reader.longest + _MARGIN
    parameters.n_parallel, parameters.port, parameters.warmup, parameters.verbosity = 1, 0, False, 1
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise GenerationError(f"llama.cpp cannot load the written file: {first_line(error)}") from error
    try:
        yield str(server.listening_address)
    except OSError as error:
        raise GenerationError(f"llama.cpp refuses a request: {first_line(error)}; use format hf or ct2") from error
    finally:
        del server


def _post(address: str, body: object) -> dict[str, Any]:
    request = Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310 - own server
    with urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
        found: dict[str, Any] = json.load(response)
    return found


def import_packages() -> None:
    """Raise GenerationError if the packages of the format are missing."""
    try:
        import gguf  # noqa: F401
        import xllamacpp  # noqa: F401
    except ImportError as error:
        raise GenerationError(
            f"format gguf needs the packages gguf and xllamacpp ({error}); install them: pip install understudy[gguf]"
        ) from None
