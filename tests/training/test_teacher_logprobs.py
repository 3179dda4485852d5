"""Teacher log-probabilities computed once give the loss of a teacher that is evaluated at every step."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.contexts import CPU, make_context, make_spec, teacher_items, texts_of
from transformers import PreTrainedModel

from understudy.models.forward import target_logits
from understudy.pool.logprob_cache import COUNTS, METADATA, ROWS, LogprobCache, LogprobCacheFile, TeacherLogprobs
from understudy.pool.token_arrays import TokenArrays
from understudy.progress import NO_PROGRESS, NO_VALUES, Values
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


def make_scorer(teacher: PreTrainedModel, mixture: Mixture, *, top_k: int, top_p: float = 1.0) -> TeacherLogprobScorer:
    """A scorer in float32."""
    return TeacherLogprobScorer(
        TargetLogits(teacher, teacher.config.vocab_size, "float32"), mixture.sources, top_k, pad=0, top_p=top_p
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
    texts, scorer = mixture.targets["teacher"].texts, make_scorer(build(seed=1), mixture, top_k=4, top_p=0.08)
    amounts: dict[str, list[float]] = {"whole": [], "interrupted": [], "resumed": []}

    def cache(name: str, folder: str, *, interrupt_at: int | None = None) -> None:
        def progress(amount: float, note: str = "", values: Values = NO_VALUES) -> None:
            amounts[name].append(amount)
            if len(amounts[name]) == interrupt_at:
                raise KeyboardInterrupt(note)

        (tmp_path / folder).mkdir(exist_ok=True)
        file = LogprobCacheFile.open(tmp_path / folder, top_k=4, vocab_size=99, fingerprint="x")
        cache_teacher_logprobs(scorer, teacher_items(mixture), texts, file, progress)

    cache("whole", "whole")
    with pytest.raises(KeyboardInterrupt):
        cache("interrupted", "killed", interrupt_at=3)
    cache("resumed", "killed")

    assert (amounts["whole"], amounts["resumed"]) == ([0, 3, 3, 2], [3, 3, 2])
    for name in (ROWS, COUNTS, METADATA):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_many_kept_tokens_are_packed_a_few_texts_at_a_time(
    build: Build, mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No progress is reported while a chunk is packed, so a chunk with more tokens per position has fewer positions."""
    teacher, texts, items = build(seed=1), mixture.targets["teacher"].texts, teacher_items(mixture)
    per_text = len(texts.flat) / len(items)
    monkeypatch.setattr(teacher_logprobs, "CHUNK_TOKENS", int(12 * per_text))
    found = {}
    for top_k in (1, 3, 12):
        amounts: list[float] = []
        (tmp_path / str(top_k)).mkdir()
        file = LogprobCacheFile.open(tmp_path / str(top_k), top_k=top_k, vocab_size=99, fingerprint="x")
        cache_teacher_logprobs(
            make_scorer(teacher, mixture, top_k=top_k),
            items,
            texts,
            file,
            lambda amount, _note="", _values=NO_VALUES, into=amounts: into.append(amount),
        )
        assert file.totals.positions == len(texts.flat)
        found[top_k] = amounts

    assert found == {1: [0, 8], 3: [0, 3, 3, 2], 12: [0, *[1] * 8]}


@FAMILIES
def test_top_p_keeps_the_fewest_tokens_that_reach_the_mass(family: str, build: Build, mixture: Mixture) -> None:
    """Counted one token at a time from dense distributions; the rest are absent, and top_k is a limit."""
    teacher, texts, items = build(family, seed=1), mixture.targets["teacher"].texts, teacher_items(mixture)
    dense = make_scorer(teacher, mixture, top_k=teacher.config.vocab_size).logprobs(items, texts)
    found = make_scorer(teacher, mixture, top_k=9, top_p=0.08).logprobs(items, texts)
    kept = np.isfinite(found.logp_PK).sum(axis=1)

    assert len(set(kept.tolist())) > 1
    for position, logp_V in enumerate(dense.logp_PK.astype(np.float64)):
        mass, fewest = 0.0, 0
        while mass < 0.08 - 1e-3 and fewest < 9:
            mass, fewest = mass + np.exp(logp_V[fewest]), fewest + 1
        assert fewest <= kept[position] <= fewest + 1  # half precision may need one more
        assert found.logp_PK[position, : kept[position]].tolist() == dense.logp_PK[position, : kept[position]].tolist()


@FAMILIES
def test_a_cache_on_disk_gives_the_loss_of_the_log_probabilities_in_memory(
    family: str, build: Build, mixture: Mixture, tmp_path: Path
) -> None:
    """Bit by bit, where rows keep different numbers of tokens and absent ids are others."""
    student, teacher, items = build(family), build(family, seed=1), teacher_items(mixture)
    texts, scorer = mixture.targets["teacher"].texts, make_scorer(teacher, mixture, top_k=9, top_p=0.08)
    file = LogprobCacheFile.open(tmp_path, top_k=9, vocab_size=teacher.config.vocab_size, fingerprint="x")
    cache_teacher_logprobs(scorer, items, texts, file, NO_PROGRESS)
    context = make_context(student, make_spec(student, None, kept_tokens=9))
    losses = [
        micro_batch_loss(context, items, RoundData(mixture, texts_of(mixture), {"teacher": cache}))
        for cache in (scorer.logprobs(items, texts), LogprobCache.open(tmp_path))
    ]

    assert file.totals.kept < 9 * len(texts.flat)
    assert losses[0].item() == losses[1].item()


def test_the_lost_divergence_is_measured_at_every_eighth_position(
    build: Build, mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mean is that of a naive sum over the vocabulary, however the texts are divided into chunks."""
    teacher, texts, items = build(seed=1), mixture.targets["teacher"].texts, teacher_items(mixture)
    size = teacher.config.vocab_size
    shape = (len(texts.flat), size)
    dense = TeacherLogprobs(np.zeros(shape, np.int32), np.zeros(shape, np.float32))
    p_PV = np.exp(make_scorer(teacher, mixture, top_k=size).logprobs(items, texts, dense).logp_PK.astype(np.float64))
    lost = [sum(p * np.log(p / (row[4:].sum() / (size - 4))) for p in row[4:]) for row in p_PV[::8]]
    for chunk in (3, 2048):
        monkeypatch.setattr(teacher_logprobs, "CHUNK", chunk)
        (tmp_path / str(chunk)).mkdir()
        file = LogprobCacheFile.open(tmp_path / str(chunk), top_k=4, vocab_size=size, fingerprint="x")
        cache_teacher_logprobs(make_scorer(teacher, mixture, top_k=4), items, texts, file, NO_PROGRESS)

        assert file.totals.measured == len(lost) < len(texts.flat)
        assert file.totals.lost == pytest.approx(sum(lost), rel=1e-4)


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

    found = caches["student"]
    assert isinstance(found, TeacherLogprobs)
    assert found.ids_PK.shape == (9, 3)
    assert (found.ids_PK[:3] == 42).all()
    expected = make_scorer(teacher, mixture, top_k=3).logprobs([TrainItem(3, "student", (2,))], texts)
    assert found.ids_PK[5:].tolist() == expected.ids_PK.tolist()
    assert set(by_round) == {4, 5}
