"""Greedy decoding that continues a given prefix, or produces a given length; engines offer neither.

One call is one batch, with `generate` of transformers and none of the generation defaults of the checkpoint.
Axes: B sources of the batch, W positions.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from understudy.models.forward import padded


def greedy_continuations(
    network: PreTrainedModel,
    sources: Sequence[Sequence[int]],
    prefixes: Sequence[Sequence[int]],
    *,
    eos: int,
    pad: int,
    min_tokens: int = 0,
    max_tokens: int,
) -> list[tuple[int, ...]]:
    """The greedy continuation of each prefix: the most probable token at each step.

    Args:
        network: encoder-decoder or decoder-only, as its config says; runs in eval mode, its mode is restored.
        sources: token ids in the network's vocabulary.
        prefixes: token ids of the beginning of each target, without a start token; all of one length, which may be 0.
        eos: the end-of-sequence id.
        pad: fills up sources; masked.
        min_tokens: the shortest continuation in tokens; the end-of-sequence id is forbidden before.
        max_tokens: the longest continuation in tokens, the end-of-sequence id included; at least 1.

    Returns:
        The new tokens alone, with the end-of-sequence id where the text ended.
    """
    settings = GenerationConfig(
        max_new_tokens=max_tokens,
        min_new_tokens=min_tokens,
        do_sample=False,
        eos_token_id=eos,
        pad_token_id=pad,
        decoder_start_token_id=getattr(network.config, "decoder_start_token_id", None),
    )
    if network.config.is_encoder_decoder:
        ids_BW, mask_BW = padded(sources, pad=pad)
        start = [network.config.decoder_start_token_id]
        decoder = {"decoder_input_ids": torch.tensor([[*start, *prefix] for prefix in prefixes]).to(network.device)}
        width = 1 + len(prefixes[0])
    else:
        rows = [[*source, *prefix] for source, prefix in zip(sources, prefixes, strict=True)]
        ids_BW, mask_BW = padded(rows, pad=pad, left=True)
        decoder, width = {}, ids_BW.shape[1]
    with _without_defaults(network), torch.inference_mode():
        generated_BW: Tensor = network.generate(
            input_ids=ids_BW.to(network.device),
            attention_mask=mask_BW.long().to(network.device),
            generation_config=settings,
            **decoder,
        )
    texts = generated_BW[:, width:].tolist()
    return [tuple(text[: text.index(eos) + 1] if eos in text else text) for text in texts]


@contextmanager
def _without_defaults(network: PreTrainedModel) -> Iterator[None]:
    """Inside the block, dropout and the checkpoint's own generation settings are off."""
    training, own = network.training, network.generation_config
    network.eval()
    network.generation_config = GenerationConfig()
    try:
        yield
    finally:
        network.train(training)
        network.generation_config = own
