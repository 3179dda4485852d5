"""The size of a network before it exists: from its config, without weights."""

from dataclasses import dataclass

from transformers import PretrainedConfig

from understudy.config.model_sections import Prune
from understudy.config.training import Lora
from understudy.models.adapters import adapter_parameter_count
from understudy.models.checkpoint import config_of, decoder_config, without_weights
from understudy.models.families import FAMILIES, layer_counts
from understudy.models.feed_forward import narrower_config
from understudy.models.prune import kept_layers
from understudy.models.scratch import ARCHITECTURES
from understudy.models.task_tokenizer import TextLimits
from understudy.models.tokenizers import load_tokenizer
from understudy.pipeline.model_sources import FromCheckpoint, FromScratch, checkpoint_path
from understudy.pipeline.starts import Start
from understudy.store import WorkerContext


@dataclass(frozen=True)
class NetworkSize:
    """What the cost of a network follows from. Multiplications with weights are counted as parameters."""

    parameters: int
    source: int
    """Parameters that each source token is multiplied with: the encoder, or all of a decoder-only network."""
    target: int
    """Parameters that each target token is multiplied with, the projection to the vocabulary included."""
    source_layers: int
    target_layers: int
    width: int
    vocabulary: int

    @property
    def bytes(self) -> int:
        """Of its weights in float32."""
        return 4 * self.parameters

    def scoring_bytes(self, *, bf16: bool | None) -> int:
        """Of its weights while it scores texts, in bfloat16 or float32."""
        return self.bytes // 2 if bf16 else self.bytes


def network_size(start: Start, limits: TextLimits, context: WorkerContext) -> NetworkSize:
    """The size of a network before training.

    Raises:
        ModelError: if there is no such checkpoint, or it cannot be pruned.
    """
    return size_of(_config(start, limits, context), start.prune)


def trained_parameters(start: Start, lora: Lora | None, limits: TextLimits, context: WorkerContext) -> int:
    """Number of parameters that a training changes: all, or those of its adapter.

    Raises:
        ModelError: as `network_size`, or if the network has no layers for the adapter.
    """
    config = _config(start, limits, context)
    own = size_of(config, start.prune)
    if lora is None:
        return own.parameters
    whole = size_of(config)
    kept = (own.source_layers + own.target_layers) / (whole.source_layers + whole.target_layers)
    return round(kept * adapter_parameter_count(without_weights(config), lora))


def _config(start: Start, limits: TextLimits, context: WorkerContext) -> PretrainedConfig:
    """The config of a network before pruning."""
    match start.source:
        case FromScratch(scratch=scratch, tokens=tokens):
            longest = limits.max_source_tokens + limits.max_target_tokens
            config = ARCHITECTURES[scratch.architecture](scratch, longest)
            vocabulary = len(load_tokenizer(checkpoint_path(tokens, context)))
            config.update({"vocab_size": vocabulary, "tie_word_embeddings": True})
            return config
        case FromCheckpoint(checkpoint=checkpoint, vocabulary=vocabulary):
            return config_of(checkpoint_path(vocabulary or checkpoint, context))


def size_of(config: PretrainedConfig, prune: Prune | None = None) -> NetworkSize:
    """The size of a network with this config, with some of its layers and neurons if it is pruned."""
    if prune and prune.feed_forward:
        config = narrower_config(config, prune.feed_forward)
    model = without_weights(config)
    inner: dict[str, int] = {"encoder": 0, "decoder": 0}
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "embed" not in name and "shared" not in name and name.split(".")[-2] not in TABLES:
            inner["encoder" if ".encoder." in f".{name}" else "decoder"] += parameter.numel()
    if config.model_type in FAMILIES:
        layers = {"encoder": 0, **layer_counts(config)}
    else:
        layers = {"encoder": 0, "decoder": _count(config, DECODER_LAYERS)}
        if config.is_encoder_decoder:
            layers["encoder"] = _count(config, ENCODER_LAYERS)
    kept = dict(layers)
    if prune:
        found = kept_layers(config, encoder_layers=prune.encoder_layers, decoder_layers=prune.decoder_layers)
        kept |= {part: len(own) for part, own in found.items()}
    removed = {part: inner[part] * (1 - kept[part] / layers[part]) if layers[part] else 0.0 for part in inner}
    inner = {part: round(inner[part] - removed[part]) for part in inner}
    width, vocabulary = _count(decoder_config(config), WIDTH_FIELDS), int(decoder_config(config).vocab_size)
    parameters = sum(parameter.numel() for parameter in model.parameters()) - round(sum(removed.values()))
    part = "encoder" if config.is_encoder_decoder else "decoder"
    return NetworkSize(
        parameters=parameters,
        source=inner[part],
        target=inner["decoder"] + width * vocabulary,
        source_layers=kept[part],
        target_layers=kept["decoder"],
        width=width,
        vocabulary=vocabulary,
    )


TABLES = frozenset({"wte", "wpe", "lm_head", "relative_attention_bias"})
"""Modules that are looked up or counted with the vocabulary."""
WIDTH_FIELDS = ("d_model", "n_embd", "hidden_size")
ENCODER_LAYERS = ("encoder_layers", "num_layers", "num_hidden_layers")
DECODER_LAYERS = ("decoder_layers", "num_decoder_layers", "n_layer", "num_hidden_layers")


def _count(config: PretrainedConfig, names: tuple[str, ...]) -> int:
    found = (getattr(config, name, None) for name in names)
    return next(int(value) for value in found if isinstance(value, int))
