"""How sources are divided into batches: by length, by tokens, and by the memory of a decoder-only model.

Its key-value cache and its logits take the memory. With a vocabulary of 262,144 tokens the logits of one row are 1 MB,
so a batch that is limited by its tokens alone can need gigabytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PretrainedConfig

_BATCH_BYTES = 2**29
"""Most memory of a batch, 512 MB, beyond the weights."""
FLOAT_BYTES = 4


@dataclass(frozen=True)
class RowMemory:
    """Bytes of one row of a batch."""

    position_bytes: int
    """Keys and values of one position in all layers."""
    logits_bytes: int
    """Everything that has the size of the vocabulary."""

    def most_rows(self, positions: int) -> int:
        """Rows of so many positions that fit into 512 MB."""
        return _BATCH_BYTES // (self.position_bytes * positions + self.logits_bytes)


def most_sources(
    memory: RowMemory | None, sources: Sequence[Sequence[int]], *, rows_per_source: int, max_tokens: int
) -> int | None:
    """Sources of one batch, with so many beams or samples of at most `max_tokens` for each; None: no such limit."""
    if memory is None or not sources:
        return None
    return max(1, memory.most_rows(max(map(len, sources)) + max_tokens) // rows_per_source)


def row_memory(config: PretrainedConfig, *, logits_copies: int) -> RowMemory | None:
    """The memory of a row in float32; None for encoder-decoders, whose batches are limited by their tokens alone.

        position_bytes = 2 * layers * key-value heads * head width * 4

    Args:
        config: of the model.
        logits_copies: arrays of the size of the vocabulary that the engine holds for each row at a time.
    """
    if config.is_encoder_decoder:
        return None
    text = config.get_text_config(decoder=True)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return RowMemory(
        position_bytes=2 * text.num_hidden_layers * heads * width * FLOAT_BYTES,
        logits_bytes=logits_copies * text.vocab_size * FLOAT_BYTES,
    )


def batches_by_length(
    sources: Sequence[Sequence[int]], *, rows_per_source: int, batch_tokens: int, most_sources: int | None = None
) -> list[list[int]]:
    """Indices of sources, long ones first, in batches of at most `batch_tokens` padded tokens.

    Args:
        sources: token ids.
        rows_per_source: beams or samples that run at the same time for each.
        batch_tokens: rows times longest source; a batch holds at least one source.
        most_sources: of one batch; None: as many as the tokens allow.
    """
    most = len(sources) if most_sources is None else most_sources
    batches: list[list[int]] = []
    for index in sorted(range(len(sources)), key=lambda index: -len(sources[index])):
        # The first of a batch is its longest.
        if batches and len(batches[-1]) < most:
            tokens = (len(batches[-1]) + 1) * rows_per_source * len(sources[batches[-1][0]])
            if tokens <= batch_tokens:
                batches[-1].append(index)
                continue
        batches.append([index])
    return batches


def split_batches(
    sources: Sequence[Sequence[int]], group: Sequence[int], *, batch_tokens: int, most_sources: int | None
) -> list[list[int]]:
    """One group of sources, divided only if a batch of `batch_tokens` could have more than `most_sources`.

    Args:
        sources: token ids of all.
        group: indices of those that may share a batch.
        batch_tokens: as in `batches_by_length`, with one row per source.
        most_sources: of one batch; None: as many as the tokens allow.
    """
    own = [sources[index] for index in group]
    if most_sources is None or most_sources >= min(len(own), batch_tokens // min(map(len, own))):
        return [list(group)]
    batches = batches_by_length(own, rows_per_source=1, batch_tokens=batch_tokens, most_sources=most_sources)
    return [[group[index] for index in batch] for batch in batches]


def equal_lengths(rows: Sequence[Sequence[object]]) -> list[list[int]]:
    """Indices of the rows of each length."""
    by_length: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(index)
    return list(by_length.values())
