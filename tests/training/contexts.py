"""Training contexts and texts as the loop sets them up, for tests of its parts. All on the CPU."""

from collections.abc import Mapping

import torch
from transformers import PreTrainedModel

from understudy.config.training import Training
from understudy.objectives import OBJECTIVES
from understudy.pool.logprob_cache import TeacherLogprobs
from understudy.pool.token_arrays import TokenArrays
from understudy.records import TextGenerator
from understudy.training.items import TrainItem
from understudy.training.mixture import Mixture
from understudy.training.relation_loss import RelationLoss
from understudy.training.spec import BoundObjective, DevScoring, LossSpec, TeacherSpec, TrainSpec
from understudy.training.step import RoundData, TargetLogits, TrainContext, prepare_teacher

CPU = torch.device("cpu")


class RecordingSGD(torch.optim.SGD):
    """Records the gradient of a step and changes no weight."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Keeps one flat copy."""
        self.gradient = torch.cat([p.grad.flatten() for group in self.param_groups for p in group["params"]])


def make_spec(
    student: PreTrainedModel,
    teacher: PreTrainedModel | None,
    objective: str | None = None,
    *,
    kept_tokens: int | None = None,
    relation_loss: RelationLoss | None = None,
    logprob_caches: Mapping[TextGenerator, TeacherLogprobs] | None = None,
) -> TrainSpec:
    """The named objective; by default cross-entropy without a teacher, forward KL with one."""
    bound = BoundObjective(OBJECTIVES[objective or ("forward_kl" if teacher else "cross_entropy")])
    loss = LossSpec(bound, student.config.vocab_size, kept_tokens=kept_tokens, relation_loss=relation_loss)
    dev = DevScoring(lambda _network: {"fit": 0.0}, "fit", higher_is_better=True)
    return TrainSpec(loss, TeacherSpec(teacher, logprob_caches=logprob_caches or {}), dev)


def make_context(student: PreTrainedModel, spec: TrainSpec) -> TrainContext:
    """A context whose optimizer records gradients, without gradient clipping."""
    model = TargetLogits(student, spec.loss.vocab_size, "float32")
    teacher = prepare_teacher(spec, CPU, "float32")
    optimizer, settings = RecordingSGD(model.parameters()), Training(max_grad_norm=1e9)
    return TrainContext(model, optimizer, teacher, spec, settings, CPU, pad=0)


def texts_of(mixture: Mixture) -> dict[TextGenerator, TokenArrays]:
    """The mixture's target texts by generator."""
    return {generator: targets.texts for generator, targets in mixture.targets.items()}


def data_of(mixture: Mixture) -> RoundData:
    """The data of a round without student samples."""
    return RoundData(mixture, texts_of(mixture))


def teacher_items(mixture: Mixture) -> list[TrainItem]:
    """One item of each of the eight sources, with its three teacher texts."""
    return [TrainItem(source, "teacher", tuple(mixture.targets["teacher"].rows(source))) for source in range(8)]
