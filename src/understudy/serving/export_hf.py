"""The format `hf`: a checkpoint in the Hugging Face layout."""

from collections.abc import Sequence

import torch

from understudy.generation.hf import evaluated_settings, open_hf
from understudy.models.checkpoint import load_network, save_network
from understudy.models.source_template import source_template
from understudy.progress import ProgressCallback
from understudy.serving.export_target import ExportTarget

OPTIONS = "generation_options.json"
"""File of other formats: the evaluated decoding for one source, as arguments of the program that reads them."""


def write_hf(target: ExportTarget) -> None:
    """Write the network, its tokenizer, and the evaluated decoding as its generation settings."""
    write_tokenizer(target)
    model = load_network(str(target.deployment.checkpoint), dtype=getattr(torch, target.precision))
    save_network(model, target.reader.tokenizer, target.folder)
    write_decoding(target)


def write_tokenizer(target: ExportTarget) -> None:
    """Write the tokenizer; that of a decoder-only model gets a chat template that makes inputs from sources."""
    tokenizer = target.reader.tokenizer
    if not target.reader.is_encoder_decoder:
        tokenizer.chat_template = source_template(target.reader)
        # A template writes special tokens as text, so that they have to be read as tokens.
        tokenizer.split_special_tokens = False
        tokenizer.init_kwargs["split_special_tokens"] = False
    tokenizer.save_pretrained(target.folder)


def write_decoding(target: ExportTarget) -> None:
    """Write the evaluated decoding as generation settings of transformers."""
    own, limit = target.deployment, target.reader.max_target_tokens
    evaluated_settings(own.checkpoint, own.decoding, max_tokens=limit).save_pretrained(target.folder)


def texts_of_hf(
    target: ExportTarget, _sources: Sequence[str], rows: Sequence[Sequence[int]], progress: ProgressCallback
) -> list[str]:
    """What the exported network generates with transformers on the CPU."""
    own, reader = target.deployment, target.reader
    with open_hf(target.folder, target.folder, dtype=target.precision, device="cpu", threads=None) as engine:
        texts = engine.generate(rows, own.decoding, max_tokens=reader.max_target_tokens, progress=progress)
    return [reader.decode(text[0].token_ids).strip() for text in texts]
