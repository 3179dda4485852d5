"""Greedy text from a given prefix on, or of a given length, which engines do not write.

One call is one batch, by `generate` of transformers, freed of every default a checkpoint brings.
Axes: B sources of the batch, W positions.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from understudy.models.forward import padded


def write_on(
    network: PreTrainedModel,
    sources: Sequence[Sequence[int]],
    prefixes: Sequence[Sequence[int]],
    *,
    end: int,
    pad: int,
    at_least: int = 0,
    at_most: int,
) -> list[tuple[int, ...]]:
    """What the network writes after each prefix, the most probable token each time.

    Args:
        network: encoder-decoder or decoder-only, as its config says; in eval mode meanwhile.
        sources: token ids as the network reads them.
        prefixes: token ids that the texts start with, without a start token; all of one length, which may be 0.
        end: the end-of-sequence id.
        pad: fills up sources; masked.
        at_least: tokens before which no text may end.
        at_most: the longest continuation in tokens, the end-of-sequence id included; at least 1.

    Returns:
        The new tokens alone, with the end-of-sequence id where the text ended.
    """
    settings = GenerationConfig(
        max_new_tokens=at_most,
        min_new_tokens=at_least,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=pad,
        decoder_start_token_id=getattr(network.config, "decoder_start_token_id", None),
    )
    if network.config.is_encoder_decoder:
        ids_BW, mask_BW = padded(sources, pad=pad)
        start = [network.config.decoder_start_token_id]
        begun = {"decoder_input_ids": torch.tensor([[*start, *prefix] for prefix in prefixes]).to(network.device)}
        width = 1 + len(prefixes[0])
    else:
        rows = [[*source, *prefix] for source, prefix in zip(sources, prefixes, strict=True)]
        ids_BW, mask_BW = padded(rows, pad=pad, left=True)
        begun, width = {}, ids_BW.shape[1]
    with _plain(network), torch.inference_mode():
        written_BW: Tensor = network.generate(
            input_ids=ids_BW.to(network.device),
            attention_mask=mask_BW.long().to(network.device),
            generation_config=settings,
            **begun,
        )
    texts = written_BW[:, width:].tolist()
    return [tuple(text[: text.index(end) + 1] if end in text else text) for text in texts]


@contextmanager
def _plain(network: PreTrainedModel) -> Iterator[None]:
    """Within, no dropout and none of the checkpoint's own generation settings."""
    training, own = network.training, network.generation_config
    network.eval()
    network.generation_config = GenerationConfig()
    try:
        yield
    finally:
        network.train(training)
        network.generation_config = own
