"""Exports one system as a folder that needs nothing else: the table of formats.

A format is an entry in `EXPORTS`: how its files are written, and how their texts are generated, which proves them.
Which run a system comes from, and where the folder is put, is in `pipeline/inspect/export.py`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from understudy.config.decoding import Decoding
from understudy.errors import GenerationError, unknown_name
from understudy.models.literal_text import special_strings
from understudy.models.source_template import whole_prompt
from understudy.models.tokenizers import load_tokenizer
from understudy.progress import NO_PROGRESS, ProgressCallback
from understudy.records import Example
from understudy.serving.export_ct2 import texts_of_ct2, write_ct2
from understudy.serving.export_examples import example_of
from understudy.serving.export_gguf import texts_of_gguf, write_gguf
from understudy.serving.export_hf import texts_of_hf, write_hf
from understudy.serving.export_target import ExportTarget, export_target
from understudy.serving.gguf_network import TYPES
from understudy.store.disk import write_text

PROMPT = "prompt.json"
EXAMPLE = "example.py"


@dataclass(frozen=True)
class ExportFormat:
    """A format of exported systems."""

    precisions: tuple[str, ...]
    """Types of the weights; the first is the default."""
    write: Callable[[ExportTarget], None]
    """Writes weights, tokenizer and decoding into the empty folder."""
    texts: Callable[[ExportTarget, Sequence[str], Sequence[Sequence[int]], ProgressCallback], list[str]]
    """What the written folder generates for sources, which are also given as the token ids of the evaluation."""


EXPORTS: Mapping[str, ExportFormat] = {
    "hf": ExportFormat(("float32", "bfloat16"), write_hf, texts_of_hf),
    "ct2": ExportFormat(("float32", "bfloat16", "int8"), write_ct2, texts_of_ct2),
    "gguf": ExportFormat(tuple(TYPES), write_gguf, texts_of_gguf),
}


def check_export(name: str, precision: str | None) -> str:
    """The precision of an export; None is the format's first.

    Raises:
        ConfigError: for an unknown format or precision.
    """
    if name not in EXPORTS:
        raise unknown_name("format", name, EXPORTS)
    known = EXPORTS[name].precisions
    if precision is not None and precision not in known:
        raise unknown_name(f"precision of format {name}", precision, known)
    return precision or known[0]


def write_export(name: str, target: ExportTarget) -> None:
    """Write a deployment into an empty folder: weights, tokenizer, prompt, decoding and an example.

    Raises:
        GenerationError: if the format does not have the model.
        ModelError: if the model cannot be loaded, or its prompt cannot be written.
    """
    reader, folder = target.reader, target.folder
    EXPORTS[name].write(target)
    prompt = {
        "prompt": whole_prompt(reader) if reader.is_encoder_decoder else "{source}",
        "in_chat_template": not reader.is_encoder_decoder,
        "max_source_tokens": reader.max_source_tokens,
        "max_target_tokens": reader.max_target_tokens,
    }
    write_text(folder / PROMPT, json.dumps(prompt, ensure_ascii=False, indent=2) + "\n")
    write_text(folder / EXAMPLE, example_of(name, is_encoder_decoder=reader.is_encoder_decoder))


def exported_texts(
    name: str, target: ExportTarget, sources: Sequence[str], *, progress: ProgressCallback = NO_PROGRESS
) -> list[str]:
    """What the files of an export generate for sources.

    Raises:
        GenerationError: if the exported prompt or chat template gives other token ids than the evaluated one.
    """
    own = export_target(target.deployment, target.precision, target.folder)  # with the tokenizer of the evaluation
    rows = own.reader.encode_sources([Example("", source) for source in sources])
    _refuse_other_inputs(own, sources, rows)
    return EXPORTS[name].texts(own, sources, rows, progress)


def remarks_of(name: str, decoding: Decoding) -> tuple[str, ...]:
    """What a format cannot express of a decoding, as sentences."""
    if name == "gguf" and decoding.kind in {"beam", "k_beams"}:
        return ("Programs that read GGUF have no beam search, so these texts are greedy.",)
    return ()


def _refuse_other_inputs(target: ExportTarget, sources: Sequence[str], rows: Sequence[Sequence[int]]) -> None:
    """Raise GenerationError if what the folder says of the prompt is not how the system was evaluated.

    Sources with the text of a special token are not compared: other programs read it as the token.
    """
    reader, tokenizer = target.reader, load_tokenizer(str(target.folder))
    prompt, strings = whole_prompt(reader), special_strings(reader.tokenizer)
    for source, row in zip(sources, rows, strict=True):
        if strings.search(source):
            continue
        if reader.is_encoder_decoder:
            found = tokenizer(prompt.replace("{source}", source))["input_ids"]
        else:
            turns = [{"role": "user", "content": source}]
            found = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        if list(found) != list(row):
            raise GenerationError(
                f"the exported prompt gives {len(found)} other token ids for the source {source[:60]!r} than the "
                f"{len(row)} that were evaluated; this tokenizer cannot be exported with its prompt"
            )
