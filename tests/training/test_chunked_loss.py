"""The loss of a batch in chunks is the loss of the whole batch, for everything that training minimizes."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from tests.training.contexts import data_of, make_context, make_spec, teacher_items
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from understudy.models.projection import Projection
from understudy.objectives import OBJECTIVES, objective_named
from understudy.training import chunked_loss, step
from understudy.training.mixture import Mixture
from understudy.training.relation_loss import RelationLoss
from understudy.training.spec import BoundObjective, TeacherSpec
from understudy.training.step import RoundData, TargetLogits, TrainContext, loss_terms, micro_batch_loss
from understudy.training.teacher_logprobs import TeacherLogprobScorer

Build = Callable[..., PreTrainedModel]
EVERY_OBJECTIVE = pytest.mark.parametrize("objective", OBJECTIVES)
KEPT = 4


@pytest.fixture(params=[(1, 1), (7, 3), (100, 100)], ids="{0[0]} positions, {0[1]} rows".format)
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the numbers of positions of a chunk and rows of a chunk, given the size of the vocabulary."""

    def set_sizes(vocabulary: int) -> None:
        positions, rows = request.param
        monkeypatch.setattr(step, "WHOLE_LOGITS", 0)
        monkeypatch.setattr(chunked_loss, "MIN_CHUNK", 1)
        monkeypatch.setattr(chunked_loss, "CHUNK_LOGITS", positions * vocabulary)
        monkeypatch.setattr(chunked_loss, "ROWS_LOGITS", rows * vocabulary)

    return set_sizes


def result(context: TrainContext, data: RoundData, **settings: object) -> tuple[Tensor, Tensor]:
    """The loss of a micro-batch, divided as the loop divides it, and its gradient."""
    torch.manual_seed(0)  # of dropout
    loss = micro_batch_loss(context, teacher_items(data.mixture), data, **settings) / 7  # type: ignore[arg-type]
    parameters = [each for each in context.network.parameters() if each.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return loss.detach(), torch.cat([each.flatten() for each in gradients if each is not None])


def assert_equal_in_chunks(
    context: TrainContext, data: RoundData, chunks: Callable[[int], None], **settings: object
) -> None:
    """The loss and the gradient are those of the whole batch, up to the order of sums."""
    expected_loss, expected = result(context, data, **settings)
    chunks(context.network.config.vocab_size)
    found_loss, found = result(context, data, **settings)

    torch.testing.assert_close(found_loss, expected_loss, rtol=1e-6, atol=1e-7)
    assert expected.norm() > 0
    assert (found - expected).norm() < 1e-6 * expected.norm()


def cached(teacher: PreTrainedModel, mixture: Mixture) -> RoundData:
    """The data of a round with the teacher's most probable tokens of the mixture's texts."""
    scorer = TeacherLogprobScorer(
        TargetLogits(teacher, teacher.config.vocab_size, "float32"), mixture.sources, KEPT, pad=0
    )
    texts = mixture.targets["teacher"].texts
    return replace(data_of(mixture), logprob_caches={"teacher": scorer.logprobs(teacher_items(mixture), texts)})


@EVERY_OBJECTIVE
@pytest.mark.parametrize("family", ["bart", "t5", "gpt2"])
def test_every_objective_with_a_live_teacher(
    objective: str, family: str, build: Build, mixture: Mixture, chunks: Callable[[int], None]
) -> None:
    """Chunks of the student's logits are compared with chunks of the teacher's."""
    student, teacher = build(family, dropout=0.1), build("bart", seed=1)
    context = make_context(student, make_spec(student, teacher, objective))

    assert_equal_in_chunks(context, data_of(mixture), chunks, t=0.3)


@EVERY_OBJECTIVE
def test_every_objective_with_cached_log_probabilities(
    objective: str, build: Build, mixture: Mixture, chunks: Callable[[int], None]
) -> None:
    """Each row gets the kept tokens of its own position."""
    student, teacher = build(), build(seed=1)
    context = make_context(student, make_spec(student, teacher, objective, kept_tokens=KEPT))

    assert_equal_in_chunks(context, cached(teacher, mixture), chunks, t=0.3)


def test_settings_of_objectives(build: Build, mixture: Mixture, chunks: Callable[[int], None]) -> None:
    """Label smoothing, and a second objective for student samples."""
    student, teacher = build(), build(seed=1)
    context = make_context(student, make_spec(student, teacher))
    smooth = BoundObjective(OBJECTIVES["cross_entropy"], {"label_smoothing": 0.2})
    loss = replace(context.spec.loss, student_samples_objective=smooth)
    samples = mixture.targets["teacher"]
    both = replace(mixture, targets={**mixture.targets, "student": samples})
    data, items = data_of(both), teacher_items(mixture)
    mixed = [item._replace(generator="student") if item.source % 3 else item for item in items]
    context = replace(context, spec=replace(context.spec, loss=loss))
    expected = micro_batch_loss(context, mixed, data)
    chunks(student.config.vocab_size)

    torch.testing.assert_close(micro_batch_loss(context, mixed, data), expected, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("of", ["attention", "hidden"])
def test_relations_are_captured_in_the_same_pass(
    of: str, build: Build, mixture: Mixture, chunks: Callable[[int], None]
) -> None:
    """The states of both networks get the gradient of the whole batch; each network is run once."""
    student, teacher = build(), build(seed=1)
    relations = RelationLoss(of, 0.4, 1)  # type: ignore[arg-type]
    context = make_context(student, make_spec(student, teacher, relation_loss=relations))
    scales = {"scale_divergence": 0.7, "scale_relations": 1.3}

    assert_equal_in_chunks(context, data_of(mixture), chunks, schedule_state=scales)


def test_padding_of_the_vocabulary_and_another_end_token(
    build: Build, mixture: Mixture, chunks: Callable[[int], None]
) -> None:
    """The teacher's columns are cut and swapped in each chunk."""
    student, teacher = build(), build(seed=1)
    spec = make_spec(student, teacher)
    teacher.resize_token_embeddings(student.config.vocab_size + 5, mean_resizing=False)
    student.resize_token_embeddings(student.config.vocab_size + 3, mean_resizing=False)

    assert_equal_in_chunks(
        make_context(student, replace(spec, teacher=TeacherSpec(teacher, swapped_ends=(2, 7)))),
        data_of(mixture),
        chunks,
    )


def test_a_function_of_the_users_own(build: Build, mixture: Mixture, chunks: Callable[[int], None]) -> None:
    """It is called with the rows of a chunk."""
    student = build()
    context = make_context(student, make_spec(student, build(seed=1)))
    own = objective_named("understudy.objectives.divergences:reverse_kl", allow_code=True)
    loss = replace(context.spec.loss, objective=BoundObjective(own, {"temperature": 2.0}))

    assert_equal_in_chunks(replace(context, spec=replace(context.spec, loss=loss)), data_of(mixture), chunks)


def test_a_head_that_is_not_trained(build: Build, mixture: Mixture, chunks: Callable[[int], None]) -> None:
    """As with LoRA: hidden states get their gradient, the head none."""
    student = build()
    student.get_output_embeddings().weight.requires_grad_(requires_grad=False)

    assert_equal_in_chunks(make_context(student, make_spec(student, build(seed=1))), data_of(mixture), chunks)
    assert student.get_output_embeddings().weight.grad is None


def test_half_precision_keeps_its_types(build: Build, mixture: Mixture, chunks: Callable[[int], None]) -> None:
    """Under autocast logits are bfloat16 and gradients float32, both near those of the whole batch."""
    student, teacher = build(), build(seed=1)
    context = make_context(student, make_spec(student, teacher))
    assert context.teacher
    context.model.precision = context.teacher.precision = "bf16"
    expected_loss, expected = result(context, data_of(mixture))
    chunks(student.config.vocab_size)
    found_loss, found = result(context, data_of(mixture))

    torch.testing.assert_close(found_loss, expected_loss, rtol=1e-5, atol=0.0)
    assert found.dtype == torch.float32
    assert (found - expected).norm() < 1e-2 * expected.norm()


def test_weights_in_half_precision(build: Build, mixture: Mixture, chunks: Callable[[int], None]) -> None:
    """Their gradients have their type."""
    student = build().bfloat16()
    context = make_context(student, make_spec(student, build(seed=1).bfloat16()))
    _, expected = result(context, data_of(mixture))
    chunks(student.config.vocab_size)
    _, found = result(context, data_of(mixture))

    assert found.dtype == torch.bfloat16
    assert (found - expected).float().norm() < 2e-2 * expected.float().norm()


def test_without_gradients_only_the_loss_is_computed(
    build: Build, mixture: Mixture, chunks: Callable[[int], None]
) -> None:
    """As when the scales of a relation loss are measured."""
    student = build()
    context = make_context(student, make_spec(student, build(seed=1)))
    items, data = teacher_items(mixture), data_of(mixture)
    expected, _ = loss_terms(context, items, data)
    chunks(student.config.vocab_size)
    with torch.no_grad():
        found, _ = loss_terms(context, items, data)

    assert not found.requires_grad
    torch.testing.assert_close(found, expected.detach(), rtol=1e-6, atol=0.0)


def test_a_small_batch_is_projected_as_a_whole(build: Build, mixture: Mixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to a number of logits nothing changes, bit by bit; above it the head has no rows in the forward pass."""
    student = build()
    context, data = make_context(student, make_spec(student, None)), data_of(mixture)
    logits = int(sum(mixture.targets["teacher"].texts.lengths)) * student.config.vocab_size
    rows: list[int] = []
    student.get_output_embeddings().register_forward_hook(lambda *call: rows.append(len(call[2])))
    for limit in (logits, logits - 1):
        monkeypatch.setattr(step, "WHOLE_LOGITS", limit)
        result(context, data)

    assert rows[0] * student.config.vocab_size == logits
    assert rows[-1] == 0


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the number of elements of the largest tensor that an operation returns."""

    elements = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: tuple[type, ...],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Calls the operation."""
        result = func(*args, **kwargs or {})
        for each in result if isinstance(result, tuple | list) else (result,):
            if isinstance(each, Tensor):
                self.elements = max(self.elements, each.numel())
        return result


def test_no_tensor_has_all_positions_and_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest tensors of 512 positions are as large as those of 64, in both passes: the head and its gradient."""
    monkeypatch.setattr(chunked_loss, "MIN_CHUNK", 8)
    monkeypatch.setattr(chunked_loss, "CHUNK_LOGITS", 8 * 1000)
    head = nn.Linear(16, 1000)
    for positions in (64, 512):
        states = Projection(torch.randn(positions, 16, requires_grad=True), head, torch.float32)
        with Largest() as largest:  # type: ignore[no-untyped-call]
            loss = chunked_loss.chunked_loss(states, lambda _chunk: lambda logits, _rows: logits.logsumexp(-1).sum())
            loss.backward()  # type: ignore[no-untyped-call]

        assert largest.elements == head.weight.numel()
