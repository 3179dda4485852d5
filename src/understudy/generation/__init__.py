"""Text generation: one protocol, `Engine`, and the table of the engines that implement it.

An engine opens a checkpoint path with a dtype and a device. Token ids in, token ids out: this package does not depend
on tasks and texts. Adding an engine takes a file with the engine and an entry in `ENGINES`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import EngineName, PoolDecoding
from understudy.errors import GenerationError, unknown_name
from understudy.generation.convert import convert, unsupported
from understudy.generation.ctranslate import CAPABILITIES as CTRANSLATE2
from understudy.generation.ctranslate import open_ctranslate2
from understudy.generation.engine import Capabilities, Engine, EngineEntry, refuse_decoding
from understudy.generation.hf import CAPABILITIES as HF
from understudy.generation.hf import live_hf, open_hf
from understudy.generation.vllm_engine import CAPABILITIES as VLLM
from understudy.generation.vllm_engine import open_vllm, unsupported_by_vllm, vllm_unavailable
from understudy.generation.workspace import convert_once, private_folder
from understudy.models.checkpoint import config_of, save_network

__all__ = [
    "ENGINES",
    "Capabilities",
    "Engine",
    "EngineEntry",
    "convert_checkpoint",
    "converted_engine",
    "live_engine",
    "open_engine",
    "resolve_engine",
]

ENGINES: dict[str, EngineEntry] = {
    # In the order in which 'auto' tries them.
    "ctranslate2": EngineEntry(CTRANSLATE2, open_ctranslate2, convert=convert, live=None, unsupported=unsupported),
    # A model in memory would have to be written and opened anew, next to itself on the GPU: it generates with `hf`.
    "vllm": EngineEntry(
        VLLM, open_vllm, convert=None, live=live_hf, unsupported=unsupported_by_vllm, unavailable=vllm_unavailable
    ),
    "hf": EngineEntry(HF, open_hf, convert=None, live=live_hf, unsupported=lambda _config: None),
}


EVERY_DECODING = {"greedy", "beam", "k_beams", "sampling"}
"""The kinds of `Decoding`. `diverse_beam` is requested by itself."""


def resolve_engine(requested: EngineName, checkpoint: str | Path, decoding: PoolDecoding | None = None) -> str:
    """The key in `ENGINES` of the engine that opens a checkpoint; only its config is read.

    Args:
        requested: an engine, or `auto`: the first of `ENGINES` that runs here and supports the model and the decoding.
        checkpoint: a folder, or a name on the hub.
        decoding: what the engine will be used with; None: any that it has, under `auto` any of `Decoding`.

    Raises:
        GenerationError: if the requested engine does not run here or support the model or the decoding.
        ConfigError: for an unknown engine.
        ModelError: if there is no such checkpoint.
    """
    return _resolve(requested, config_of(str(checkpoint)), decoding)


def convert_checkpoint(engine: str, checkpoint: Path, folder: Path) -> None:
    """Write a checkpoint's form for an engine into a folder, unless it is there; the folder is complete or absent.

    It does nothing for an engine that reads checkpoints.

    Args:
        engine: a key of `ENGINES`.
        checkpoint: a folder in the Hugging Face layout.
        folder: holds nothing else.

    Raises:
        GenerationError: if the engine does not support the model.
        ConfigError: for an unknown engine.
        ModelError: if the checkpoint cannot be loaded.
    """
    entry = _entry(engine)
    if entry.convert is not None:
        _refuse_model(engine, config_of(str(checkpoint)))
        convert_once(entry.convert, checkpoint, folder)


def converted_engine(
    requested: EngineName, checkpoint: Path, workspace: Path, decoding: PoolDecoding | None = None
) -> tuple[str, str | None]:
    """The engine of a checkpoint, after its form for it was made in `workspace/<engine>` and compared.

    Under `auto`, an engine that does not support the model, cannot convert it, or whose conversion gives other
    log-probabilities, is passed over; the second value says why.

    Raises:
        GenerationError: if the requested engine does not support the model or the decoding, or cannot convert it.
        ConfigError: for an unknown engine.
        ModelError: if the checkpoint cannot be loaded.
    """
    config = config_of(str(checkpoint))
    reason = _passed_over(config) if requested == "auto" else None
    for name in _candidates(requested, config, decoding):
        try:
            convert_checkpoint(name, checkpoint, workspace / name)
        except GenerationError as error:
            if requested != "auto":
                raise
            reason = str(error)
        else:
            return name, reason
    raise AssertionError(requested)  # 'hf' is a candidate of every model and converts nothing


@contextmanager
def open_engine(
    engine: EngineName,
    checkpoint: Path,
    *,
    workspace: Path,
    dtype: str = "float32",
    device: str = "cpu",
    threads: int | None = None,
    decoding: PoolDecoding | None = None,
) -> Iterator[Engine]:
    """An engine of a checkpoint, open within the context.

    Args:
        engine: as in `resolve_engine`.
        checkpoint: a folder in the Hugging Face layout.
        workspace: folder of this checkpoint's conversions, `workspace/<engine>`, which are made if they are not there.
        dtype: type of the weights, one of the engine's capabilities.
        device: `cpu`, `cuda` or `cuda:1`.
        threads: CPU threads; None: the library's choice.
        decoding: as in `resolve_engine`.

    Raises:
        GenerationError: if the engine does not support the model, the decoding or the dtype.
        ConfigError: for an unknown engine.
        ModelError: if the checkpoint cannot be loaded.
    """
    name, _ = converted_engine(engine, checkpoint, workspace, decoding)
    known = ENGINES[name].capabilities.dtypes
    if dtype not in known:
        raise GenerationError(
            f"engine {name!r} cannot open weights as {dtype!r}; use one of {', '.join(sorted(known))}"
        )
    kinds = ENGINES[name].capabilities.devices
    if device.partition(":")[0] not in kinds:
        raise GenerationError(
            f"engine {name!r} does not run on {device!r}, only on {', '.join(sorted(kinds))}; use engine 'hf' or 'auto'"
        )
    with ENGINES[name].open(checkpoint, workspace / name, dtype=dtype, device=device, threads=threads) as opened:
        yield opened


@contextmanager
def live_engine(
    engine: EngineName,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    workspace: Path,
    threads: int | None = None,
    decoding: PoolDecoding | None = None,
) -> Iterator[Engine]:
    """An engine of a model in memory, such as one that is being trained, open within the context.

    `hf` and `vllm` use the model itself in torch and follow its weights. Other engines open a copy of the current
    weights, which is saved in a folder in `workspace` and removed afterwards.

    Args:
        engine: as in `resolve_engine`.
        model: the model; the engine uses its device and dtype.
        tokenizer: the model's own.
        workspace: for the copy of the weights.
        threads: as in `open_engine`.
        decoding: as in `resolve_engine`.

    Raises:
        GenerationError: as `open_engine`.
        ConfigError: for an unknown engine.
    """
    name = _resolve(engine, model.config, decoding)
    live = ENGINES[name].live
    if live is not None:
        with live(model, tokenizer, threads) as opened:
            yield opened
        return
    with private_folder(workspace, "live") as folder:
        checkpoint = folder / "checkpoint"
        save_network(model, tokenizer, checkpoint)
        dtype = str(model.dtype).removeprefix("torch.")
        with open_engine(
            engine,
            checkpoint,
            workspace=folder,
            dtype=dtype,
            device=str(model.device),
            threads=threads,
            decoding=decoding,
        ) as opened:
            yield opened


def _entry(name: str) -> EngineEntry:
    if name not in ENGINES:
        raise unknown_name("engine", name, ["auto", *ENGINES])
    return ENGINES[name]


def _resolve(requested: str, config: PretrainedConfig, decoding: PoolDecoding | None) -> str:
    return next(_candidates(requested, config, decoding))


def _candidates(requested: str, config: PretrainedConfig, decoding: PoolDecoding | None) -> Iterator[str]:
    """The engines that support a model and a decoding by its config, those to be preferred first."""
    if requested == "auto":
        needed = EVERY_DECODING if decoding is None else {decoding.kind}
        for name, entry in ENGINES.items():
            able = needed <= entry.capabilities.decodings and entry.unsupported(config) is None
            if able and entry.unavailable() is None:
                yield name
        return
    entry = _entry(requested)
    _refuse_model(requested, config)
    if reason := entry.unavailable():
        raise GenerationError(f"engine {requested!r} was requested, but {reason}")
    if decoding is not None:
        refuse_decoding(requested, entry.capabilities, decoding)
    yield requested


def _passed_over(config: PretrainedConfig) -> str | None:
    """Why `auto` does not use the first engine for a model, if the config alone says so."""
    name, entry = next(iter(ENGINES.items()))
    reason = entry.unsupported(config)
    return None if reason is None else f"engine {name!r} does not support {reason}"


def _refuse_model(name: str, config: PretrainedConfig) -> None:
    """Raise GenerationError if an engine does not support a model."""
    reason = ENGINES[name].unsupported(config)
    if reason is not None:
        raise GenerationError(
            f"engine {name!r} was requested, but it does not support {reason}; use engine 'hf', which supports all "
            "models, or 'auto'"
        )
