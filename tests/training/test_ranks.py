"""Two ranks, real processes that exchange gradients by gloo, train as one process does."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.contexts import data_of, make_context, make_spec, teacher_items
from tests.training.rank_processes import RankProcesses, rank_processes
from torch import Tensor
from transformers import PreTrainedModel

from understudy.errors import ConfigError
from understudy.pool.logprob_cache import COUNTS, METADATA, ROWS, LogprobCacheFile, TeacherLogprobs
from understudy.progress import NO_PROGRESS
from understudy.ranks import ALONE, Ranks, items_of_rank, ranks_of_environment
from understudy.training import teacher_logprobs
from understudy.training.items import TrainItem, TrainItems
from understudy.training.loop import train_step
from understudy.training.mixture import Mixture
from understudy.training.rounds import round_logprobs
from understudy.training.state import TrainState
from understudy.training.step import TargetLogits
from understudy.training.student_sampling import StudentSamples
from understudy.training.teacher_logprobs import TeacherLogprobScorer, cache_teacher_logprobs

Build = Callable[..., PreTrainedModel]


@pytest.fixture(scope="module")
def on_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RankProcesses]:
    """Runs a function on two ranks."""
    with rank_processes(tmp_path_factory.mktemp("ranks")) as processes:
        yield processes


def gradient(
    ranks: Ranks,
    student: PreTrainedModel,
    teacher: PreTrainedModel | None,
    mixture: Mixture,
    micro_batches: Sequence[Sequence[TrainItem]],
) -> tuple[Tensor, TrainState]:
    """The gradient of one step and the state after it."""
    context = replace(make_context(student, make_spec(student, teacher)), ranks=ranks)
    state = TrainState()
    train_step(context, micro_batches, data_of(mixture), state)
    return context.optimizer.gradient, state  # type: ignore[attr-defined]  # of the optimizer of tests


@pytest.mark.parametrize("family", ["bart", "gpt2"])
@pytest.mark.parametrize("with_teacher", [False, True])
@pytest.mark.parametrize("sizes", [(8,), (3, 5), (1, 7), (1,)])
def test_two_ranks_give_the_gradient_of_one(
    family: str, with_teacher: bool, sizes: tuple[int, ...], build: Build, mixture: Mixture, on_ranks: RankProcesses
) -> None:
    """However a step is divided into micro-batches, also where there are fewer items than ranks."""
    items = iter(teacher_items(mixture))
    step = [[next(items) for _ in range(size)] for size in sizes]
    given = (build(family), build(family, seed=1) if with_teacher else None, mixture, step)
    expected, alone = gradient(ALONE, *given)
    (first, state), (second, other) = on_ranks(gradient, *given)

    assert expected.norm() > 0
    assert (first - expected).abs().max() < 1e-6 * max(1.0, float(expected.abs().max()))
    assert torch.equal(first, second)
    assert state == other
    assert (state.positions, state.step) == (alone.positions, alone.step)
    assert state.loss_sum == pytest.approx(alone.loss_sum, rel=1e-6)


def unused_parameter(ranks: Ranks, student: PreTrainedModel, mixture: Mixture) -> list[float]:
    """The value of a parameter that the network does not use, after a step with weight decay."""
    student.register_parameter("unused", torch.nn.Parameter(torch.ones(2)))
    context = make_context(student, make_spec(student, None))
    optimizer = torch.optim.AdamW(context.model.parameters(), weight_decay=0.5)
    train_step(
        replace(context, ranks=ranks, optimizer=optimizer), [teacher_items(mixture)[:3]], data_of(mixture), TrainState()
    )
    values: list[float] = student.get_parameter("unused").tolist()
    return values


def test_a_parameter_that_no_rank_uses_is_not_updated(build: Build, mixture: Mixture, on_ranks: RankProcesses) -> None:
    """As with one rank: a gradient of zeros would decay its weight."""
    assert on_ranks(unused_parameter, build(), mixture) == [[1.0, 1.0], [1.0, 1.0]]


def cached(ranks: Ranks, teacher: PreTrainedModel, mixture: Mixture, folder: Path, stop: int | None = None) -> int:
    """Writes a cache in chunks of two items, until so many are finished; returns how many were before."""
    teacher_logprobs.CHUNK = 2
    logits = TargetLogits(teacher, teacher.config.vocab_size, "float32")
    scorer = TeacherLogprobScorer(logits, mixture.sources, top_k=4, pad=0, top_p=0.08)
    file = None
    if ranks.is_first:
        file = LogprobCacheFile.open(folder, top_k=4, vocab_size=teacher.config.vocab_size, fingerprint="x")
    done = file.done if file else 0
    cache_teacher_logprobs(
        scorer, teacher_items(mixture)[:stop], mixture.targets["teacher"].texts, file, NO_PROGRESS, ranks
    )
    return done


@pytest.mark.parametrize("interrupted", ["never", "on one", "on two"])
def test_two_ranks_write_the_log_probabilities_of_one(
    interrupted: str, build: Build, mixture: Mixture, on_ranks: RankProcesses, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The same bytes, also where another number of ranks began."""
    monkeypatch.setattr(teacher_logprobs, "CHUNK", 2)
    teacher, one, two = build(seed=1), tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    assert cached(ALONE, teacher, mixture, one) == 0
    if interrupted == "on one":
        cached(ALONE, teacher, mixture, two, 4)
        assert on_ranks(cached, teacher, mixture, two) == [4, 0]
    elif interrupted == "on two":
        on_ranks(cached, teacher, mixture, two, 6)
        assert cached(ALONE, teacher, mixture, two) == 6
    else:
        assert on_ranks(cached, teacher, mixture, two) == [0, 0]

    for name in (ROWS, COUNTS, METADATA):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def sampled(ranks: Ranks, teacher: PreTrainedModel, mixture: Mixture, batch_tokens: int) -> TeacherLogprobs:
    """The log-probabilities of student samples, here the texts of the teacher."""
    teacher_logprobs.BATCH_TOKENS = batch_tokens
    samples = TrainItems.of(teacher_items(mixture))
    context = replace(make_context(teacher, make_spec(teacher, teacher, kept_tokens=3)), ranks=ranks)
    texts = mixture.targets["teacher"].texts
    caches, _ = round_logprobs(context, mixture, StudentSamples(texts, samples, {2: samples}), {})
    found = caches["student"]
    assert isinstance(found, TeacherLogprobs)
    return found


@pytest.mark.parametrize("batch_tokens", [30, 8192])
def test_two_ranks_share_the_log_probabilities_of_student_samples(
    batch_tokens: int, build: Build, mixture: Mixture, on_ranks: RankProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have those of one process, bit by bit, with several batches and with a single one."""
    monkeypatch.setattr(teacher_logprobs, "BATCH_TOKENS", batch_tokens)
    teacher = build(seed=1)
    expected = sampled(ALONE, teacher, mixture, batch_tokens)

    for found in on_ranks(sampled, teacher, mixture, batch_tokens):
        assert found.ids_PK.tobytes() == expected.ids_PK.tobytes()
        assert found.logp_PK.tobytes() == expected.logp_PK.tobytes()


def test_the_shares_of_all_ranks_are_all_items() -> None:
    """Every item is on one rank; of items sorted by length each rank has some of every length."""
    assert [list(items_of_rank(range(7), Ranks(rank, 3))) for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]
    assert list(items_of_rank(range(7), ALONE)) == list(range(7))


def test_a_rank_is_what_torchrun_says() -> None:
    """All three variables; other tools set some of them for other purposes. Contradictions are refused."""
    assert ranks_of_environment({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}) == Ranks(3, 4, 1)
    assert ranks_of_environment({"RANK": "0", "WORLD_SIZE": "4"}) == ALONE
    for rank, size in (("4", "4"), ("-1", "4"), ("one", "2")):
        with pytest.raises(ConfigError, match=f"RANK={rank}, WORLD_SIZE={size}.*torchrun"):
            ranks_of_environment({"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": "0"})
