"""The speed of generation: transformers on networks in memory, and the engines of understudy on a checkpoint."""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from benchmarks.gpu_parts.networks import Facts, Sizes, batch, build, seconds, synchronize
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel


def generated(model: PreTrainedModel, source_ids_SL: Tensor, length: int, *, sample: bool) -> Tensor:
    """Ids of texts of exactly this length, one for each source; none ends earlier."""
    settings = GenerationConfig(
        max_new_tokens=length,
        min_new_tokens=length,
        do_sample=sample,
        num_beams=1,
        eos_token_id=1,
        pad_token_id=0,
        decoder_start_token_id=0,
        **({"top_k": 0} if sample else {}),
    )
    with torch.no_grad():
        rows = model.generate(
            input_ids=source_ids_SL, attention_mask=torch.ones_like(source_ids_SL), generation_config=settings
        )
    texts: Tensor = rows[:, -length:]
    return texts


def generation(device: str, sizes: Sizes) -> Facts:
    """Tokens per second of transformers, greedily and sampled, for teachers and students with bf16 weights on a GPU."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    facts: Facts = {}
    for name, (teacher, student, vocabulary) in sizes.pairs.items():
        sources = batch(sizes, vocabulary, device, rows=max(4, sizes.rows // 4))["source_ids_SL"]
        for role, own in (("teacher", teacher), ("student", student)):
            model = build(own, vocabulary, seed=0, dtype=dtype).to(device)
            for kind, sample in (("greedy", False), ("sampled", True)):
                work = partial(generated, model, sources, sizes.target, sample=sample)
                took = seconds(work, device, repeats=1)
                facts[f"{name}: {role}, {kind}"] = {"tokens_per_second": len(sources) * sizes.target / took}
    return facts


def engines(device: str, sizes: Sizes, *, names: tuple[str, ...] = ("hf", "ctranslate2")) -> Facts:
    """Engines of understudy on a checkpoint of a decoder: texts against `hf`, and speed; or why one is not here.

    Needs the required packages of understudy, which the other parts do not.
    """
    try:
        from benchmarks.gpu_parts.checkpoints import open_engines
    except ModuleNotFoundError as error:
        return {name: {"not_here": str(error)} for name in names}
    small = replace(sizes, rows=max(4, sizes.rows // 4))
    return dict(_engine_speeds(open_engines(names, small, device), small))


def _engine_speeds(opened: Iterator[tuple[str, Any, list[list[int]]]], sizes: Sizes) -> Iterator[tuple[str, Facts]]:
    expected = None
    for name, engine, sources in opened:
        if isinstance(engine, str):
            yield name, {"not_here": engine}
            continue
        from understudy.config.decoding import Greedy, Sampling

        texts = engine.generate(sources, Greedy(), max_tokens=sizes.target)
        expected = expected or texts
        times = {}
        for kind, decoding, count in (("greedy", Greedy(), 1), ("4 samples", Sampling(), 4)):
            synchronize("cuda" if torch.cuda.is_available() else "cpu")
            started = time.perf_counter()
            found = engine.generate(sources, decoding, per_source=count, max_tokens=sizes.target, seed=1)
            tokens = sum(len(text.token_ids) for row in found for text in row)
            times[kind] = tokens / (time.perf_counter() - started)
        same = sum(one[0].token_ids == other[0].token_ids for one, other in zip(texts, expected, strict=True))
        yield name, {"same_greedy_texts_as_hf": [same, len(sources)], "tokens_per_second": times}
