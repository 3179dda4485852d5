"""The stage that measures the size and latency of a pruned student before it is trained.

Which layers are kept decides how long an output of given length takes; what they have learned does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, ClassVar

from understudy.config.model_sections import Prune
from understudy.evaluation.depths import cost_by_depth, layers_of
from understudy.models.task_tokenizer import TextLimits
from understudy.pipeline.model_sources import (
    TokenizerSource,
    load_stage_network,
    load_task_tokenizer,
    pruned_for_size,
    with_vocabulary,
)
from understudy.pipeline.stages.benchmark import few_threads
from understudy.pipeline.stages.data import load_split
from understudy.store import Content, Stage, WorkerContext

PREVIEW_INPUTS = 8


@dataclass(frozen=True)
class PruneFacts:
    """The whole network and the pruned one."""

    layers: dict[str, int]
    kept_layers: dict[str, int]
    parameters: int
    kept_parameters: int
    latency_ms: float
    kept_latency_ms: float
    tokens: int
    """Length of the outputs that were timed."""

    @property
    def summary(self) -> str:
        """The facts as a sentence."""
        kept = ", ".join(f"{self.kept_layers[part]} of {self.layers[part]} {part} layers" for part in self.layers)
        return (
            f"the student keeps {kept}: {self.kept_parameters / 1e6:.2f} M of {self.parameters / 1e6:.2f} M parameters,"
            f" predicted latency {self.kept_latency_ms:.1f} ms against the teacher's {self.latency_ms:.1f} ms "
            f"({self.kept_latency_ms / self.latency_ms:.0%}; {self.tokens} tokens, hf, 1 thread)"
        )


@dataclass(frozen=True)
class PrunePreviewStage(Stage[PruneFacts]):
    """Size and latency of the teacher with and without some layers, on this machine."""

    teacher: Stage[Any]
    prune: Prune
    dev: Content
    limits: TextLimits
    machine: tuple[str, ...]
    """The cost on another machine is another result."""
    vocabulary: Stage[Any] | None = None
    """The student's trimmed tokenizer, if it is not the teacher's."""
    name: ClassVar[str] = "prune_preview"
    in_caller: ClassVar[bool] = True
    alone: ClassVar[bool] = True

    def run(self, folder: Path, context: WorkerContext) -> PruneFacts:  # noqa: ARG002 - all is in the facts
        """Times both networks on a few dev inputs."""
        examples = load_split(context.path(self.dev), "dev")[:PREVIEW_INPUTS]
        tokenizer = load_task_tokenizer(TokenizerSource(self.teacher), self.limits, context)
        first_targets = tokenizer.encode_targets([example.targets[0] for example in examples])
        tokens = max(1, round(mean(map(len, first_targets))))
        whole = load_stage_network(self.teacher, context)
        trimmed = with_vocabulary(whole, self.vocabulary, context)
        reads = load_task_tokenizer(TokenizerSource(self.vocabulary or self.teacher), self.limits, context)
        pruned = pruned_for_size(trimmed, self.prune)
        layers = layers_of(whole)
        kept = _kept(layers, self.prune)
        with few_threads():
            (slow,), (fast,) = (
                cost_by_depth(
                    network,
                    depths=[depth],
                    lengths=[tokens],
                    sources=own.encode_sources(examples),
                    eos=own.tokenizer.eos_token_id,
                    pad=own.pad_id,
                )
                for network, own, depth in ((whole, tokenizer, layers), (pruned, reads, kept))
            )
        facts = PruneFacts(
            dict(layers),
            kept,
            whole.num_parameters(),
            pruned.num_parameters(),
            slow.latency_ms,
            fast.latency_ms,
            tokens,
        )
        context.progress.log(facts.summary)
        return facts


def _kept(layers: Mapping[str, int], requested: Prune) -> dict[str, int]:
    """How many layers of each part are kept."""
    wanted = {"encoder": requested.encoder_layers, "decoder": requested.decoder_layers}
    return {
        part: total if (own := wanted[part]) is None else own if isinstance(own, int) else len(own)
        for part, total in layers.items()
    }
