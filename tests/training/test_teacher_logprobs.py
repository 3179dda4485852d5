"""A teacher that listens once says what one says who listens at every step."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from understudy.config.training import Training
from understudy.models.forward import target_logits
from understudy.objectives import OBJECTIVES
from understudy.pool.logprob_cache import LogprobCacheFile, TeacherLogprobs
from understudy.pool.token_arrays import TokenArrays
from understudy.records import TextGenerator
from understudy.training import teacher_logprobs
from understudy.training.batches import collate
from understudy.training.loop import _signals_of_round
from understudy.training.mixture import Mixture, TrainItem
from understudy.training.step import (
    BoundObjective,
    RoundData,
    TargetLogits,
    TrainContext,
    TrainSpec,
    live_teacher,
    loss_of,
)
from understudy.training.student_sampling import StudentSamples
from understudy.training.teacher_logprobs import TeacherLogprobScorer, cache_teacher_logprobs

Build = Callable[..., PreTrainedModel]
FAMILIES = pytest.mark.parametrize("family", ["bart", "gpt2"])


def lessons_of(mixture: Mixture) -> list[TrainItem]:
    """The teacher's three texts of each of the eight sources."""
    return [TrainItem(source, "teacher", tuple(mixture.targets["teacher"].rows(source))) for source in range(8)]


def texts_of(mixture: Mixture) -> dict[TextGenerator, TokenArrays]:
    """By generator."""
    return {generator: targets.texts for generator, targets in mixture.targets.items()}


def ear(teacher: PreTrainedModel, mixture: Mixture, *, top: int) -> TeacherLogprobScorer:
    """Keeps so many tokens."""
    return TeacherLogprobScorer(
        TargetLogits(teacher, teacher.config.vocab_size, "float32"), mixture.sources, top, pad=0
    )


@FAMILIES
def test_it_keeps_the_most_probable_tokens_of_every_position(family: str, build: Build, mixture: Mixture) -> None:
    """One text at a time, the network's own log-softmax says the same to half precision."""
    teacher, texts = build(family, seed=1), mixture.targets["teacher"].texts
    signal = ear(teacher, mixture, top=5).hear(lessons_of(mixture), texts)

    assert signal.ids_PK.shape == (len(texts.flat), 5)
    for lesson in lessons_of(mixture):
        for row in lesson.rows:
            batch = collate([lesson._replace(rows=(row,))], mixture.sources, texts_of(mixture), pad=0)
            with torch.no_grad():
                logp_NV = target_logits(teacher.eval(), **batch.inputs(torch.device("cpu"))).log_softmax(-1)
            logp_NK, ids_NK = logp_NV.topk(5)
            assert signal.ids_PK[texts.places([row])].tolist() == ids_NK.tolist()
            np.testing.assert_allclose(signal.logp_PK[texts.places([row])], logp_NK, rtol=1e-3)


@FAMILIES
@pytest.mark.parametrize("name", ["forward_kl", "jsd", "tvd", "skew_reverse_kl", "argmax_cross_entropy"])
def test_what_it_kept_teaches_what_it_would_say_now(family: str, name: str, build: Build, mixture: Mixture) -> None:
    """With all tokens kept, and not rounded to half precision, loss and gradient are those of dense distributions."""
    student, teacher = build(family), build(seed=1)
    texts, top = mixture.targets["teacher"].texts, teacher.config.vocab_size
    shape = (len(texts.flat), top)
    exact = TeacherLogprobs(np.zeros(shape, np.int32), np.zeros(shape, np.float32))
    signal = ear(teacher, mixture, top=top).hear(lessons_of(mixture), texts, exact)
    dense = TrainSpec(
        BoundObjective(OBJECTIVES[name], {}),
        teacher,
        student.config.vocab_size,
        lambda _: {},
        "fit",
        higher_is_better=True,
    )
    sparse = replace(dense, kept_tokens=9, teacher=None)
    found = []
    logprob_caches: dict[TextGenerator, TeacherLogprobs] = {"teacher": signal}
    for goal in (dense, sparse):
        model = TargetLogits(student, student.config.vocab_size, "float32")
        optimizer = torch.optim.SGD(model.parameters())
        accelerator = Accelerator()
        lecture = TrainContext(
            accelerator, model, optimizer, live_teacher(goal, accelerator, "float32"), goal, Training(), pad=0
        )
        loss = loss_of(lecture, lessons_of(mixture), RoundData(mixture, texts_of(mixture), logprob_caches))
        found.append((loss, torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(student.parameters()))])))

    (live, live_gradient), (kept, kept_gradient) = found
    torch.testing.assert_close(kept, live, rtol=1e-4, atol=1e-4)
    assert (kept_gradient - live_gradient).norm() < 1e-4 * live_gradient.norm()


def test_a_large_vocabulary_is_heard_in_parts(build: Build, mixture: Mixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """No forward makes more logits than the limit, unless one text alone does, and the signal is the same."""
    teacher, texts = build(seed=1), mixture.targets["teacher"].texts
    whole = ear(teacher, mixture, top=4).hear(lessons_of(mixture), texts)
    monkeypatch.setattr(teacher_logprobs, "LOGITS", 12 * teacher.config.vocab_size)
    sizes: list[int] = []
    listener = ear(teacher, mixture, top=4)
    listener.teacher.register_forward_hook(lambda _module, _inputs, logits_NV: sizes.append(len(logits_NV)))
    parts = listener.hear(lessons_of(mixture), texts)

    assert max(sizes) <= 12
    assert sum(sizes) == len(texts.flat)
    assert parts.ids_PK.tolist() == whole.ids_PK.tolist()
    np.testing.assert_allclose(parts.logp_PK, whole.logp_PK, rtol=2e-3)


def test_a_killed_listener_hears_no_text_twice(
    build: Build, mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a kill between two chunks the file ends with the bytes of one that was not killed."""
    monkeypatch.setattr(teacher_logprobs, "CHUNK", 3)
    texts, heard = mixture.targets["teacher"].texts, ear(build(seed=1), mixture, top=4)

    def die(amount: float, note: str = "") -> None:
        died.append((amount, note))
        if len(died) == 3:
            raise KeyboardInterrupt

    def file(name: str) -> LogprobCacheFile:
        (tmp_path / name).mkdir(exist_ok=True)
        return LogprobCacheFile.open(tmp_path / name, positions=len(texts.flat), top=4, content="x")

    amounts: list[float] = []
    died: list[tuple[float, str]] = []
    cache_teacher_logprobs(
        heard, lessons_of(mixture), texts, file("whole"), lambda amount, note="": amounts.append(amount)
    )
    with pytest.raises(KeyboardInterrupt):
        cache_teacher_logprobs(heard, lessons_of(mixture), texts, file("killed"), die)
    again: list[float] = []
    cache_teacher_logprobs(
        heard, lessons_of(mixture), texts, file("killed"), lambda amount, note="": again.append(amount)
    )

    assert (amounts, again) == ([0, 3, 3, 2], [6, 2])
    for name in ("ids.npy", "logp.npy"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_students_text_is_heard_once_however_often_it_is_taught(build: Build, mixture: Mixture) -> None:
    """The signal of an earlier round is taken as it was, and stands where the round's texts stand."""
    teacher = build(seed=1)
    goal = TrainSpec(
        BoundObjective(OBJECTIVES["forward_kl"], {}), teacher, teacher.config.vocab_size, lambda _: {}, "fit",
        higher_is_better=True, kept_tokens=3,
    )  # fmt: skip
    accelerator = Accelerator()
    student = TargetLogits(build(), teacher.config.vocab_size, "float32")
    lecture = TrainContext(
        accelerator, student, torch.optim.SGD(student.parameters()), live_teacher(goal, accelerator, "float32"), goal,
        Training(), pad=0,
    )  # fmt: skip
    texts = TokenArrays.of([[5, 6, 2], [7, 2], [8, 9, 10, 2]])
    rounds = {4: [TrainItem(1, "student", (0,))], 5: [TrainItem(0, "student", (1,)), TrainItem(3, "student", (2,))]}
    remembered = TeacherLogprobs(np.full((3, 3), 42, np.int32), np.zeros((3, 3), np.float16))
    logprob_caches, heard = _signals_of_round(
        lecture, mixture, StudentSamples(texts, [(0,), (2,)], rounds), {4: remembered}
    )

    assert logprob_caches["student"].ids_PK.shape == (9, 3)
    assert (logprob_caches["student"].ids_PK[:3] == 42).all()
    expected = ear(teacher, mixture, top=3).hear([TrainItem(3, "student", (2,))], texts)
    assert logprob_caches["student"].ids_PK[5:].tolist() == expected.ids_PK.tolist()
    assert set(heard) == {4, 5}
