"""The format `ct2`: CTranslate2's files, with the tokenizer and the options of the evaluated decoding."""

import json
from collections.abc import Sequence

from understudy.errors import GenerationError
from understudy.generation.convert import convert, unsupported
from understudy.generation.ctranslate import CTranslate2Engine
from understudy.models.checkpoint import config_of, sliding_window
from understudy.models.generation_format import checkpoint_format
from understudy.progress import ProgressCallback
from understudy.serving.export_hf import OPTIONS, write_decoding, write_tokenizer
from understudy.serving.export_target import ExportTarget
from understudy.store.disk import write_text

_OF_THE_ENGINE = {"return_end_token", "return_scores", "max_batch_size", "batch_type", "asynchronous"}


def write_ct2(target: ExportTarget) -> None:
    """Convert the network.

    Raises:
        GenerationError: if CTranslate2 does not have the model, or ignores a sliding window that its texts exceed.
    """
    config = config_of(str(target.deployment.checkpoint))
    if reason := unsupported(config):
        raise GenerationError(f"format ct2 was requested, but CTranslate2 does not support {reason}; use format hf")
    window, longest = sliding_window(config), target.reader.longest
    if window is not None and longest > window:
        raise GenerationError(
            f"format ct2 was requested, but CTranslate2 ignores the model's sliding window of {window} tokens, and "
            f"source and text together may have {longest}; use format hf"
        )
    convert(target.deployment.checkpoint, target.folder, weights=target.precision)
    write_tokenizer(target)
    write_decoding(target)
    write_text(target.folder / OPTIONS, json.dumps(_options(target), ensure_ascii=False, indent=2) + "\n")


def texts_of_ct2(
    target: ExportTarget, _sources: Sequence[str], rows: Sequence[Sequence[int]], progress: ProgressCallback
) -> list[str]:
    """What the exported files generate on the CPU."""
    decoding, limit = target.deployment.decoding, target.reader.max_target_tokens
    texts = _engine(target).generate(rows, decoding, max_tokens=limit, progress=progress)
    return [target.reader.decode(text[0].token_ids).strip() for text in texts]


def _options(target: ExportTarget) -> dict[str, object]:
    """The library's arguments for one source: those of the evaluation but for how they are batched and returned."""
    own, reader = target.deployment, target.reader
    settings = _engine(target).settings(own.decoding, 1, reader.max_target_tokens, ())
    first = checkpoint_format(own.checkpoint).forced_bos_token_id if reader.is_encoder_decoder else None
    if first is not None:
        settings["target_prefix"] = [reader.tokenizer.convert_ids_to_tokens([first])]
    return {name: value for name, value in settings.items() if name not in _OF_THE_ENGINE}


def _engine(target: ExportTarget) -> CTranslate2Engine:
    return CTranslate2Engine(target.folder, checkpoint_format(target.deployment.checkpoint), dtype=target.precision)
