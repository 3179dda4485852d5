"""Logits of target tokens: the next-token distributions of a model at every position of a target.

Several targets share a source, which is encoded once; only true positions are projected to the
vocabulary. This module handles models and tensors. It does not depend on text, objectives or decoding.
Axes: S sources, L source positions, B targets, T target positions, W positions of a source and its
target in one row, N true positions of the target mask in row-major order, H hidden width, V vocabulary.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


def padded(rows: Sequence[Sequence[int]], *, pad: int = 0, left: bool = False) -> tuple[Tensor, Tensor]:
    """Token ids of one length, int64, and the bool mask that is true at real positions, both (rows, longest).

    Args:
        rows: token ids.
        pad: id of the padding.
        left: whether padding is on the left, as decoder-only models need it for generation.
    """
    side = "left" if left else "right"
    ids = [torch.tensor(row, dtype=torch.long) for row in rows]
    real = [torch.ones_like(row, dtype=torch.bool) for row in ids]
    return (
        pad_sequence(ids, batch_first=True, padding_value=pad, padding_side=side),
        pad_sequence(real, batch_first=True, padding_side=side),
    )


def encode(model: PreTrainedModel, source_ids_SL: Tensor, source_mask_SL: Tensor) -> Tensor:
    """The encoder's last hidden states of an encoder-decoder.

    Args:
        model: an encoder-decoder.
        source_ids_SL: token ids, int64, S sources of L positions.
        source_mask_SL: true where a source has a token.

    Returns:
        States SLH; those at padding have no meaning.
    """
    states_SLH: Tensor = model.get_encoder()(input_ids=source_ids_SL, attention_mask=source_mask_SL).last_hidden_state
    return states_SLH


def target_logits(
    model: PreTrainedModel,
    *,
    source_ids_SL: Tensor,
    source_mask_SL: Tensor,
    source_of_B: Tensor,
    target_ids_BT: Tensor,
    target_mask_BT: Tensor,
) -> Tensor:
    """Logits that predict each true target token from its source and the tokens before it.

    Padding is on the right of sources and targets. Dropout depends on the mode of `model`.

    Args:
        model: encoder-decoder or decoder-only, by its config. For decoder-only, source and target
            form one row, and the source's last token predicts the first token of the target.
        source_ids_SL: token ids, int64, S sources of L positions.
        source_mask_SL: bool, true where a source has a token.
        source_of_B: int64, the source of each of the B targets.
        target_ids_BT: token ids, int64, with the end-of-sequence id and without a start token.
        target_mask_BT: bool, true at the N positions to predict.

    Returns:
        Logits NV in the model's type, row-major: row n predicts `target_ids_BT[target_mask_BT][n]`.
    """
    if model.config.is_encoder_decoder:
        encoded_BLH = encode(model, source_ids_SL, source_mask_SL)[source_of_B]
        return _decoder_logits(model, encoded_BLH, source_mask_SL[source_of_B], target_ids_BT, target_mask_BT)
    lengths_B = source_mask_SL.sum(dim=1)[source_of_B]
    return _row_logits(model, source_ids_SL[source_of_B], lengths_B, target_ids_BT, target_mask_BT)


def shared_source_logits(model: PreTrainedModel, **inputs: Tensor) -> Tensor:
    """`target_logits`, for which a decoder-only model reads a source with several targets once.

    It reads the source into its key-value cache; the logits are those of separate rows within rounding. Arguments and
    result are those of `target_logits`, whose encoder-decoders always read a source once.
    """
    sources_SL = inputs["source_ids_SL"]
    several = len(sources_SL) < len(inputs["target_ids_BT"]) and sources_SL.shape[1] > 1
    continues = several and not model.config.is_encoder_decoder and _continues(model)
    return _continued_logits(model, **inputs) if continues else target_logits(model, **inputs)


def is_noisy(model: PreTrainedModel) -> bool:
    """Whether dropout changes the output of the model: whether two passes in training mode differ.

    The model is tested instead of its config, where each family has its own names for dropout.
    """
    inputs, training = few_tokens(model), model.training
    with torch.no_grad(), torch.random.fork_rng():
        first, second = (target_logits(model.train(), **inputs) for _ in range(2))
    model.train(training)
    return not torch.equal(first, second)


def few_tokens(model: PreTrainedModel) -> dict[str, Tensor]:
    """Arguments of `target_logits` with one source and one target of four tokens, to find out what a model does."""
    ids_14 = torch.arange(4, device=model.device)[None]
    all_14 = torch.ones_like(ids_14, dtype=torch.bool)
    return {
        "source_ids_SL": ids_14,
        "source_mask_SL": all_14,
        "source_of_B": ids_14[:, 0],  # the one source
        "target_ids_BT": ids_14,
        "target_mask_BT": all_14,
    }


def _decoder_logits(
    model: PreTrainedModel,
    encoded_BLH: Tensor,
    source_mask_BL: Tensor,
    target_ids_BT: Tensor,
    target_mask_BT: Tensor,
) -> Tensor:
    """Encoder-decoder: the decoder reads the start token and all target tokens but the last."""
    start_B1 = target_ids_BT.new_full((len(target_ids_BT), 1), model.config.decoder_start_token_id)
    with _projecting(model, lambda hidden_BTH: hidden_BTH[target_mask_BT]):
        logits_NV: Tensor = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded_BLH),
            attention_mask=source_mask_BL,
            decoder_input_ids=torch.cat([start_B1, target_ids_BT[:, :-1]], dim=1),
            use_cache=False,
        ).logits
    return logits_NV


def _row_logits(
    model: PreTrainedModel,
    source_ids_BL: Tensor,
    lengths_B: Tensor,
    target_ids_BT: Tensor,
    target_mask_BT: Tensor,
) -> Tensor:
    """Decoder-only: source and target in one row without padding between them."""
    row_N, position_N = target_mask_BT.nonzero(as_tuple=True)
    position_N = lengths_B[row_N] + position_N - 1
    rows_BW = _joined(source_ids_BL, lengths_B, target_ids_BT, width=int(position_N.max()) + 1)
    with _projecting(model, lambda hidden_BWH: hidden_BWH[row_N, position_N]):
        # All padding is on the right, where the causal mask hides it from every true position.
        logits_NV: Tensor = model(input_ids=rows_BW, attention_mask=torch.ones_like(rows_BW), use_cache=False).logits
    return logits_NV


def _continues(model: PreTrainedModel) -> bool:
    """Whether the model takes a key-value cache and positions, as all do whose state is not recurrent.

    While it is trained with gradient checkpointing, it returns no cache.
    """
    if model.training and any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        return False
    return {"past_key_values", "position_ids"} <= inspect.signature(model.forward).parameters.keys()


def _continued_logits(
    model: PreTrainedModel,
    source_ids_SL: Tensor,
    source_mask_SL: Tensor,
    source_of_B: Tensor,
    target_ids_BT: Tensor,
    target_mask_BT: Tensor,
) -> Tensor:
    """Decoder-only: all source tokens but the last are read once; each target continues from a copy of their cache.

    Sources are padded on the left here, so that sliding windows count no padding.
    """
    lengths_S, longest = source_mask_SL.sum(dim=1), source_ids_SL.shape[1]
    index_SL = torch.arange(longest, device=source_ids_SL.device) - (longest - lengths_S)[:, None]
    ids_SL, mask_SL = source_ids_SL.gather(1, index_SL.clamp(min=0)), index_SL >= 0
    with _projecting(model, lambda hidden_SLH: hidden_SLH[:, :0]):
        cache = model(
            input_ids=ids_SL[:, :-1],
            attention_mask=mask_SL[:, :-1].long(),
            position_ids=index_SL[:, :-1].clamp(min=0),
            use_cache=True,
        ).past_key_values
    cache.batch_select_indices(source_of_B)
    rows_BT = torch.cat([ids_SL[:, -1:][source_of_B], target_ids_BT[:, :-1]], dim=1)
    # Padding gets the position of the last token: there may be no further ones.
    after_BT = torch.arange(rows_BT.shape[1], device=rows_BT.device).minimum(target_mask_BT.sum(dim=1)[:, None] - 1)
    with _projecting(model, lambda hidden_BTH: hidden_BTH[target_mask_BT]):
        logits_NV: Tensor = model(
            input_ids=rows_BT,
            # The mask of all positions that the cache and the rows have; padding on the right is behind all targets.
            attention_mask=torch.cat([mask_SL[source_of_B][:, :-1].long(), torch.ones_like(rows_BT)], dim=1),
            position_ids=lengths_S[source_of_B, None] - 1 + after_BT,
            past_key_values=cache,
            use_cache=True,
        ).logits
    return logits_NV


@contextmanager
def _projecting(model: PreTrainedModel, select: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the context, only the selected hidden states, NH, are projected to the vocabulary."""

    def before(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (select(inputs[0]),)

    # First among the hooks: `projection` gets the selected states.
    handle = model.get_output_embeddings().register_forward_pre_hook(before, prepend=True)
    try:
        yield
    finally:
        handle.remove()


def _joined(source_ids_BL: Tensor, lengths_B: Tensor, target_ids_BT: Tensor, *, width: int) -> Tensor:
    """Rows BW of source and target without padding between them, up to the last position that predicts."""
    both_BU = torch.cat([source_ids_BL, target_ids_BT], dim=1)
    position_W = torch.arange(width, device=both_BU.device)
    in_target_BW = position_W - lengths_B[:, None]
    index_BW = torch.where(in_target_BW < 0, position_W, in_target_BW + source_ids_BL.shape[1])
    return both_BU.gather(1, index_BW.clamp(max=both_BU.shape[1] - 1))
