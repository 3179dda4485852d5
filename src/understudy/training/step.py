"""The loss of one micro-batch, and the context that every step of a training uses.

Axes: N target positions of a micro-batch, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from understudy.config.training import Training
from understudy.errors import ObjectiveError
from understudy.models.attention import attention_heads, capture_attention
from understudy.models.forward import is_noisy, shared_source_logits, target_logits
from understudy.models.projection import Projection, projection, projects_in_parts
from understudy.pool.logprob_cache import AnyLogprobs, TeacherLogprobs
from understudy.pool.token_arrays import TokenArrays
from understudy.ranks import ALONE, Ranks
from understudy.records import TextGenerator
from understudy.training.batches import collate
from understudy.training.checkpoints import Checkpointable
from understudy.training.chunked_loss import WHOLE_LOGITS, LossOfRows, chunked_loss
from understudy.training.items import TrainItem
from understudy.training.mixture import Mixture
from understudy.training.spec import LossSpec, TrainSpec
from understudy.training.supervision import Supervision, cached_logprobs
from understudy.training.targets_per_source import reading_once_pays

AutocastPrecision = Literal["float32", "bf16"]
"""What a network computes in; the recipe's `precision` may also be `auto`."""


@dataclass(frozen=True)
class RoundData:
    """The texts of one round's items and their teacher log-probabilities."""

    mixture: Mixture
    texts: Mapping[TextGenerator, TokenArrays]
    logprob_caches: Mapping[TextGenerator, AnyLogprobs] = field(default_factory=dict)
    sample_logprobs: Mapping[int, TeacherLogprobs] = field(default_factory=dict)
    """Those of the student samples, by the round in which these were generated."""


class TargetLogits(nn.Module):
    """A network as training uses it: micro-batch in, logits at the target positions out."""

    def __init__(
        self,
        network: PreTrainedModel,
        vocab_size: int,
        precision: AutocastPrecision,
        swapped: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.vocab_size = vocab_size
        self.precision = precision
        self.swapped = swapped
        self._in_parts: bool | None = None

    def forward(self, inputs: Mapping[str, Tensor], *, sources_once: bool = False) -> Tensor:
        """The logits at the N target positions, (N, V); `sources_once`: by `shared_source_logits`."""
        with self._autocast(inputs):
            read = shared_source_logits if sources_once else target_logits
            logits_NV = read(self.network, **inputs)
        return self._columns(logits_NV)

    def projection(self, inputs: Mapping[str, Tensor], *, sources_once: bool = False) -> Tensor | Projection:
        """The way to the logits; they themselves where the network's head can only be applied to all positions."""
        with self._autocast(inputs):
            if self._in_parts is None:
                self._in_parts = projects_in_parts(self.network)
            if self._in_parts:
                found = projection(self.network, shared_source_logits if sources_once else target_logits, **inputs)
                return replace(found, steps=(*found.steps, self._columns))
        return self(inputs, sources_once=sources_once)  # type: ignore[no-any-return]  # torch does not annotate calls of modules

    def _autocast(self, inputs: Mapping[str, Tensor]) -> torch.autocast:
        device = inputs["source_ids_SL"].device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16")

    def _columns(self, logits_NV: Tensor) -> Tensor:
        """Without the padding of the vocabulary."""
        logits_NV = logits_NV[:, : self.vocab_size]
        if self.swapped:
            # A teacher that ends texts with another token of the same vocabulary: its end is the student's end.
            logits_NV[:, list(self.swapped)] = logits_NV[:, list(reversed(self.swapped))]
        return logits_NV


@dataclass(frozen=True)
class TrainContext(Checkpointable):
    """What every step of one training uses."""

    model: TargetLogits
    teacher: TargetLogits | None
    spec: TrainSpec
    settings: Training
    device: torch.device
    pad: int
    ranks: Ranks = field(default=ALONE, kw_only=True)
    """The processes that make each step together."""

    @property
    def network(self) -> PreTrainedModel:
        """The network that is trained."""
        network: PreTrainedModel = self.model.network
        return network


def prepare_teacher(spec: TrainSpec, device: torch.device, precision: AutocastPrecision) -> TargetLogits | None:
    """The live teacher in evaluation mode, without gradients; None where no objective needs one.

    Raises:
        ObjectiveError: if a teacher is needed and there is none, its dropout is enabled and it has none, or its live
            logits are needed and its tokenizer is not the student's.
    """
    loss, network = spec.loss, spec.teacher.network
    if network is None and loss.needs_teacher and not loss.kept_tokens:
        needing = next(o.objective.function.__name__ for o in loss.objectives if o.objective.needs != "labels")
        raise ObjectiveError(f"objective {needing} compares with a teacher's logits, but there is no teacher; pass one")
    if network is None or not loss.needs_teacher:
        return None
    if loss.enable_teacher_dropout and not is_noisy(network):
        raise ObjectiveError(
            "distil.enable_teacher_dropout has no effect: the teacher's config has no dropout; use method logits_kd, "
            "or a teacher with dropout in its config"
        )
    other = spec.teacher.other
    if other and not loss.kept_tokens:
        raise ObjectiveError(
            "the teacher has another tokenizer than the student, and its live logits are not mapped; set "
            "distil.teacher_logprobs={kind: sparse}"
        )
    vocab_size = len(other.tokens.teacher) if other else loss.vocab_size
    teacher = TargetLogits(network, vocab_size, precision, spec.teacher.swapped_ends).to(device)
    return teacher.eval().requires_grad_(requires_grad=False)


def micro_batch_loss(
    context: TrainContext,
    items: Sequence[TrainItem],
    data: RoundData,
    *,
    schedule_state: Mapping[str, float] = MappingProxyType({}),
    t: float = 1.0,
) -> Tensor:
    """The loss of one micro-batch: a sum in nats over its target positions, scaled where there is a relation loss."""
    divergence, relations = loss_terms(context, items, data, t=t)
    relation_loss = context.spec.loss.relation_loss
    return relation_loss.combine(divergence, relations, schedule_state) if relation_loss else divergence


def loss_terms(
    context: TrainContext, items: Sequence[TrainItem], data: RoundData, *, t: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The divergence and the relation term of one micro-batch, both sums over its target positions in nats."""
    loss, teacher = context.spec.loss, context.teacher
    inputs = _inputs(context, items, data.mixture.sources, data.texts)
    context.model.train(loss.enable_student_dropout)
    with ExitStack() as hooks:
        student_states = teacher_states = None
        if loss.relation_loss and teacher:
            student_states = hooks.enter_context(capture_attention(context.network))
            teacher_states = hooks.enter_context(capture_attention(teacher.network))
        whole, once = _is_whole(loss, inputs), _reads_once(context, data, inputs)
        read = context.model if whole else context.model.projection
        student = read(inputs, sources_once=once)
        supervision = _supervision(context, items, data, inputs, whole=isinstance(student, Tensor))
    divergence = _divergence(loss, student, supervision, _student_samples(loss, items, data, supervision), t)
    if not (loss.relation_loss and teacher and student_states and teacher_states):
        return divergence, torch.zeros_like(divergence)
    heads = attention_heads(teacher.network)
    return divergence, loss.relation_loss.compare(
        student_states.relations, teacher_states.relations, inputs, heads=heads
    )


def _divergence(
    loss: LossSpec, student: Tensor | Projection, supervision: Supervision, sample_N: Tensor | None, t: float
) -> Tensor:
    """The sum of the objectives, each over the positions of its texts."""
    if isinstance(student, Projection):

        def of_chunk(chunk: slice) -> LossOfRows:
            its, its_samples_C = supervision.select(chunk), None if sample_N is None else sample_N[chunk]
            return lambda logits_RV, rows: _divergence(
                loss, logits_RV, its.select(rows), None if its_samples_C is None else its_samples_C[rows], t
            )

        return chunked_loss(student, of_chunk)
    if loss.student_samples_objective is None or sample_N is None:
        return loss.objective.loss(student, supervision, t)
    parts = ((loss.objective, ~sample_N), (loss.student_samples_objective, sample_N))
    return torch.stack([bound.loss(student[mask_N], supervision.select(mask_N), t) for bound, mask_N in parts]).sum()


def _supervision(
    context: TrainContext,
    items: Sequence[TrainItem],
    data: RoundData,
    inputs: Mapping[str, Tensor],
    *,
    whole: bool,
) -> Supervision:
    """The labels of a micro-batch with cached or live teacher distributions.

    Live teacher logits are computed now (`whole`), or chunk by chunk as the student's. Where the teacher encodes
    sources differently, it gets the same targets after its own source tokens.
    """
    loss, mixture = context.spec.loss, data.mixture
    labels_N = inputs["target_ids_BT"][inputs["target_mask_BT"]]
    if not loss.needs_teacher:
        return Supervision(labels_N)
    if loss.kept_tokens:
        kept = cached_logprobs(items, data.texts, data.logprob_caches, labels_N.device)
        return Supervision(labels_N, kept=kept)
    if context.teacher is None:
        return Supervision(labels_N)
    if mixture.teacher_sources is not None:
        inputs = _inputs(context, items, mixture.teacher_sources, data.texts)
    with torch.no_grad():
        teacher = context.teacher.train(loss.enable_teacher_dropout)
        read = teacher if whole else teacher.projection
        return Supervision(labels_N, read(inputs, sources_once=_reads_once(context, data, inputs)))


def _is_whole(loss: LossSpec, inputs: Mapping[str, Tensor]) -> bool:
    """Whether the batch is projected as a whole."""
    return int(inputs["target_mask_BT"].sum()) * loss.vocab_size <= WHOLE_LOGITS


def _reads_once(context: TrainContext, data: RoundData, inputs: Mapping[str, Tensor]) -> bool:
    """Whether a decoder-only network reads a prompt once for its targets.

    Not with a number of the recipe's, whose results stay what they were, and not with relations, which compare rows.
    """
    auto, relations = data.mixture.auto, context.spec.loss.relation_loss
    return auto is not None and relations is None and reading_once_pays(inputs)


def _inputs(
    context: TrainContext,
    items: Sequence[TrainItem],
    sources: TokenArrays,
    texts: Mapping[TextGenerator, TokenArrays],
) -> dict[str, Tensor]:
    return collate(items, sources, texts, pad=context.pad).inputs(context.device)


def _student_samples(
    loss: LossSpec, items: Sequence[TrainItem], data: RoundData, supervision: Supervision
) -> Tensor | None:
    """For each target position, in the order of a batch's rows, whether its text is a student sample."""
    if loss.student_samples_objective is None:
        return None
    are = [item.generator == "student" for item in items for row in item.rows for _ in data.texts[item.generator][row]]
    return torch.tensor(are, device=supervision.labels_N.device)
