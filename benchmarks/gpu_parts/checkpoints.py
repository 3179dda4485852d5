"""Opens the engines of understudy with a checkpoint of random weights; needs the package's required packages."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from benchmarks.gpu_parts.networks import Sizes, build

from understudy.generation import ENGINES, open_engine
from understudy.models.checkpoint import save_network
from understudy.models.tokenizers import train_tokenizer

TEXTS = ["the mill", "a b c", "the eagle costs 25", "mill", "the c", "eagle b 2 5", "a a a a a a a", "costs"]


def open_engines(names: tuple[str, ...], sizes: Sizes, device: str) -> Iterator[tuple[str, Any, list[list[int]]]]:
    """Each engine with sources; or instead of the engine the reason why it is not here."""
    _, student, _ = sizes.pairs[list(sizes.pairs)[-1]]
    tokenizer = train_tokenizer(TEXTS, vocab_size=300)
    network = build(student, len(tokenizer), seed=0)
    draws = torch.Generator().manual_seed(0)
    ids = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
    rows = torch.randint(0, len(ids), (sizes.rows, sizes.source), generator=draws).tolist()
    sources = [[ids[index] for index in row] for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        save_network(network, tokenizer, checkpoint)
        for name in names:
            if reason := ENGINES[name].unavailable():
                yield name, reason, sources
                continue
            with open_engine(name, checkpoint, workspace=Path(folder) / "engines", device=device) as engine:
                yield name, engine, sources
