"""Teacher log-probabilities computed once give the loss of a teacher that is evaluated at every step."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.contexts import CPU, make_context, make_spec, teacher_items, texts_of
from transformers import PreTrainedModel

from understudy.models.forward import target_logits
from understudy.pool.logprob_cache import LogprobCacheFile, TeacherLogprobs
from understudy.pool.token_arrays import TokenArrays
from understudy.progress import NO_VALUES, Values
from understudy.training import teacher_logprobs
from understudy.training.batches import collate
from understudy.training.items import TrainItem, TrainItems
from understudy.training.mixture import Mixture
from understudy.training.rounds import round_logprobs
from understudy.training.step import RoundData, TargetLogits, micro_batch_loss
from understudy.training.student_sampling import StudentSamples
from understudy.training.teacher_logprobs import TeacherLogprobScorer, cache_teacher_logprobs

Build = Callable[..., PreTrainedModel]
FAMILIES = pytest.mark.parametrize("family", ["bart", "gpt2"])


def make_scorer(teacher: PreTrainedModel, mixture: Mixture, *, top_k: int) -> TeacherLogprobScorer:
    """A scorer in float32."""
    return TeacherLogprobScorer(
        TargetLogits(teacher, teacher.config.vocab_size, "float32"), mixture.sources, top_k, pad=0
    )


@FAMILIES
def test_the_most_probable_tokens_of_every_position_are_kept(family: str, build: Build, mixture: Mixture) -> None:
    """They agree, to half precision, with the network's own log-softmax on one text at a time."""
    teacher, texts = build(family, seed=1), mixture.targets["teacher"].texts
    logprobs = make_scorer(teacher, mixture, top_k=5).logprobs(teacher_items(mixture), texts)

    assert logprobs.ids_PK.shape == (len(texts.flat), 5)
    for item in teacher_items(mixture):
        for row in item.rows:
            batch = collate([item._replace(rows=(row,))], mixture.sources, texts_of(mixture), pad=0)
            with torch.no_grad():
                logp_NV = target_logits(teacher.eval(), **batch.inputs(CPU)).log_softmax(-1)
            logp_NK, ids_NK = logp_NV.topk(5)
            assert logprobs.ids_PK[texts.positions([row])].tolist() == ids_NK.tolist()
            np.testing.assert_allclose(logprobs.logp_PK[texts.positions([row])], logp_NK, rtol=1e-3)


@FAMILIES
@pytest.mark.parametrize("name", ["forward_kl", "jsd", "tvd", "skew_reverse_kl", "argmax_cross_entropy"])
def test_cached_logprobs_give_the_loss_of_live_logits(family: str, name: str, build: Build, mixture: Mixture) -> None:
    """With all tokens kept in single precision, loss and gradient are those of dense distributions."""
    student, teacher, items = build(family), build(seed=1), teacher_items(mixture)
    texts, top_k = mixture.targets["teacher"].texts, teacher.config.vocab_size
    shape = (len(texts.flat), top_k)
    exact = TeacherLogprobs(np.zeros(shape, np.int32), np.zeros(shape, np.float32))
    cache = make_scorer(teacher, mixture, top_k=top_k).logprobs(items, texts, exact)
    found = []
    for spec in (make_spec(student, teacher, name), make_spec(student, None, name, kept_tokens=9)):
        data = RoundData(mixture, texts_of(mixture), {"teacher": cache})
        loss = micro_batch_loss(make_context(student, spec), items, data)
        found.append((loss, torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(student.parameters()))])))

    (live, live_gradient), (cached, cached_gradient) = found
    torch.testing.assert_close(cached, live, rtol=1e-4, atol=1e-4)
    assert (cached_gradient - live_gradient).norm() < 1e-4 * live_gradient.norm()


def test_a_large_vocabulary_splits_batches(build: Build, mixture: Mixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """No forward pass computes more logits than the limit, unless a single text does, with the same result."""
    teacher, texts = build(seed=1), mixture.targets["teacher"].texts
    whole = make_scorer(teacher, mixture, top_k=4).logprobs(teacher_items(mixture), texts)
    monkeypatch.setattr(teacher_logprobs, "MAX_LOGITS", 12 * teacher.config.vocab_size)
    sizes: list[int] = []
    scorer = make_scorer(teacher, mixture, top_k=4)
    scorer.teacher.register_forward_hook(lambda _module, _inputs, logits_NV: sizes.append(len(logits_NV)))
    parts = scorer.logprobs(teacher_items(mixture), texts)

    assert max(sizes) <= 12
    assert sum(sizes) == len(texts.flat)
    assert parts.ids_PK.tolist() == whole.ids_PK.tolist()
    np.testing.assert_allclose(parts.logp_PK, whole.logp_PK, rtol=2e-3)


def test_an_interrupted_cache_resumes_after_its_finished_chunks(
    build: Build, mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted within the second chunk, it ends with the bytes of an uninterrupted one, and repeats that chunk."""
    monkeypatch.setattr(teacher_logprobs, "CHUNK", 3)
    texts, scorer = mixture.targets["teacher"].texts, make_scorer(build(seed=1), mixture, top_k=4)
    amounts: dict[str, list[float]] = {"whole": [], "interrupted": [], "resumed": []}

    def cache(name: str, folder: str, *, interrupt_at: int | None = None) -> None:
        def progress(amount: float, note: str = "", values: Values = NO_VALUES) -> None:
            amounts[name].append(amount)
            if len(amounts[name]) == interrupt_at:
                raise KeyboardInterrupt(note)

        (tmp_path / folder).mkdir(exist_ok=True)
        file = LogprobCacheFile.open(tmp_path / folder, positions=len(texts.flat), top_k=4, fingerprint="x")
        cache_teacher_logprobs(scorer, teacher_items(mixture), texts, file, progress)

    cache("whole", "whole")
    with pytest.raises(KeyboardInterrupt):
        cache("interrupted", "killed", interrupt_at=3)
    cache("resumed", "killed")

    assert (amounts["whole"], amounts["resumed"]) == ([0, 3, 3, 2], [3, 3, 2])
    for name in ("ids.npy", "logp.npy"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_logprobs_of_reused_student_samples_are_computed_once(build: Build, mixture: Mixture) -> None:
    """Those of an earlier round are taken over, at the positions of its samples."""
    teacher, student = build(seed=1), build()
    context = make_context(student, make_spec(student, teacher, kept_tokens=3))
    texts = TokenArrays.of([[5, 6, 2], [7, 2], [8, 9, 10, 2]])
    earlier, now = TrainItem(1, "student", (0,)), [TrainItem(0, "student", (1,)), TrainItem(3, "student", (2,))]
    rounds = {4: TrainItems.of([earlier]), 5: TrainItems.of(now)}
    known = TeacherLogprobs(np.full((3, 3), 42, np.int32), np.zeros((3, 3), np.float16))
    caches, by_round = round_logprobs(
        context, mixture, StudentSamples(texts, TrainItems.of([earlier, now[1]]), rounds), {4: known}
    )

    assert caches["student"].ids_PK.shape == (9, 3)
    assert (caches["student"].ids_PK[:3] == 42).all()
    expected = make_scorer(teacher, mixture, top_k=3).logprobs([TrainItem(3, "student", (2,))], texts)
    assert caches["student"].ids_PK[5:].tolist() == expected.ids_PK.tolist()
    assert set(by_round) == {4, 5}
