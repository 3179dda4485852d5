"""A whole training on two ranks: its end, its files, its interruption."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.contexts import CPU, make_spec
from tests.training.given_scores import weights
from tests.training.rank_processes import RankProcesses, rank_processes
from tests.training.test_loop_resume import CallLimit, Interrupted, without_times
from torch import Tensor
from transformers import PreTrainedModel

from understudy.config.training import Training
from understudy.errors import StoreError, TrainingError
from understudy.models.forward import target_logits
from understudy.pool.token_arrays import TokenArrays
from understudy.ranks import ALONE, Ranks
from understudy.training import loop
from understudy.training.batches import collate
from understudy.training.items import TrainItem, TrainItems
from understudy.training.mixture import Mixture
from understudy.training.spec import DevScoring
from understudy.training.student_sampling import StudentSamples

Build = Callable[..., PreTrainedModel]
SETTINGS = Training(learning_rate=1e-3, epochs=3, batch_tokens=50, targets_per_source=2, warmup_steps=3)
Result = tuple[Tensor, dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """A distillation with student samples in the second of two rounds per epoch; both processes get a copy."""

    student: PreTrainedModel
    teacher: PreTrainedModel
    mixture: Mixture
    folder: Path
    settings: Training = SETTINGS

    def score(self, network: PreTrainedModel) -> Mapping[str, float]:
        """Log-likelihood of a gold text; any function of the weights will do."""
        network.eval()
        texts = {"gold": self.mixture.targets["gold"].texts}
        batch = collate([TrainItem(0, "gold", (0,))], self.mixture.sources, texts, pad=0)  # type: ignore[arg-type]
        with torch.no_grad():
            logits_NV = target_logits(network, **batch.inputs(network.device))
        return {"fit": float(logits_NV.log_softmax(-1)[range(len(logits_NV)), batch.target_ids_BT[0]].sum())}

    def sample(self, items: Sequence[TrainItem], number: int, ranks: Ranks) -> StudentSamples:
        """Made-up samples in a file, which only rank 0 may write."""
        path = self.folder / f"samples-{number}.json"
        if ranks.is_first and not path.exists():
            rng = np.random.default_rng(number)
            path.write_text(json.dumps([[*rng.integers(4, 90, 4).tolist(), 2] for item in items for _ in item.rows]))
        counts = [len(item.rows) for item in items]
        own = TrainItems.of_one(
            "student", np.array([item.source for item in items]), np.arange(sum(counts)), np.array(counts)
        )
        return StudentSamples(TokenArrays.of(json.loads(path.read_text())), own, {number: own})


def trained(ranks: Ranks, job: Job, steps: int | None = None) -> Result | None:
    """Weights and state at the end; None after an interruption, by which each step has a checkpoint."""
    loop.SAVE_EVERY_S = -1.0

    def score(network: PreTrainedModel) -> Mapping[str, float]:
        if not ranks.is_first:
            raise AssertionError("only rank 0 scores dev")
        return job.score(network)

    dev = DevScoring(score, "fit", higher_is_better=True, evaluate_start=True)
    try:
        state = loop.train(
            job.student, job.mixture, replace(make_spec(job.student, job.teacher), dev=dev), settings=job.settings,
            seed=3, precision="float32", device=CPU, pad=0, folder=job.folder, progress=CallLimit(steps), ranks=ranks,
            sample_student=lambda _student, items, number: job.sample(items, number, ranks),
        )  # fmt: skip
    except Interrupted:
        return None
    return weights(job.student), without_times(state)


@pytest.fixture(scope="module")
def on_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RankProcesses]:
    """Runs a function on two ranks."""
    with rank_processes(tmp_path_factory.mktemp("ranks")) as processes:
        yield processes


@pytest.fixture
def job(build: Build, mixture: Mixture, tmp_path: Path) -> Callable[..., Job]:
    """Makes a job in a folder of its own."""
    mixture = replace(
        mixture,
        shares={"gold": 0.2, "teacher": 0.4, "student": 0.4},
        targets_per_source=2,
        rounds_per_epoch=2,
        student_from_round=1,
    )

    def make(name: str, *, dropout: float = 0.0, seed: int = 0, **settings: object) -> Job:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        student, teacher = build(dropout=dropout, seed=seed), build(seed=1)
        return Job(student, teacher, mixture, folder, SETTINGS.model_copy(update=settings))

    return make


@pytest.mark.parametrize("keep_weights", ["best", "average"])
def test_two_ranks_end_where_one_does(
    keep_weights: str, job: Callable[..., Job], on_ranks: RankProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same steps, history and weights up to float32's rounding; both ranks hold the same weights."""
    monkeypatch.setattr(loop, "SAVE_EVERY_S", -1.0)
    alone = trained(ALONE, job("one", keep_weights=keep_weights))
    first, second = on_ranks(trained, job("two", keep_weights=keep_weights))

    assert alone is not None
    assert torch.equal(first[0], second[0])
    assert (first[0] - alone[0]).abs().quantile(0.99) < 1e-6
    # AdamW divides by the gradient's size: where that is rounding alone, as of the biases of keys, so is the update.
    assert (first[0] - alone[0]).abs().max() < SETTINGS.learning_rate
    assert first[1]["step"] == alone[1]["step"] > 10
    assert first[1]["history"] == second[1]["history"]
    for row, expected in zip(first[1]["history"], alone[1]["history"], strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    assert (first[1]["ranks"], alone[1]["ranks"]) == (2, 1)


def test_rank_0_gives_its_weights_and_writes_alone(job: Callable[..., Job], on_ranks: RankProcesses) -> None:
    """Ranks that begin with other weights end with those of rank 0; the folder has one checkpoint and no remains."""
    one = job("two", dropout=0.2)
    first, second = on_ranks(trained_from_other_weights, one)

    assert torch.equal(first, second)
    names = sorted(path.name.split("-")[0] for path in one.folder.iterdir())
    assert names == ["best", "checkpoint", *["samples"] * 5]


def trained_from_other_weights(ranks: Ranks, job: Job) -> Tensor:
    """The weights at the end of a training that each rank begins with weights of its own."""
    with torch.no_grad():
        for parameter in job.student.parameters():
            parameter.add_(ranks.rank)
    result = trained(ranks, job)
    assert result is not None
    return result[0]


@pytest.mark.parametrize("steps", [2, 8])
def test_resumed_on_two_ranks_equals_uninterrupted(
    steps: int, job: Callable[..., Job], on_ranks: RankProcesses
) -> None:
    """The same bytes and history, with dropout, whether interrupted in the first epoch or later."""
    whole, _ = on_ranks(trained, job("whole", dropout=0.2))
    assert on_ranks(trained, job("parts", dropout=0.2), steps) == [None, None]
    first, second = on_ranks(trained, job("parts", dropout=0.2))

    assert torch.equal(first[0], whole[0])
    assert torch.equal(second[0], whole[0])
    assert first[1] == whole[1]


@pytest.mark.parametrize("first_on_two", [True, False])
def test_another_number_of_ranks_is_refused(
    first_on_two: bool, job: Callable[..., Job], on_ranks: RankProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has both numbers and the folder to delete."""
    monkeypatch.setattr(loop, "SAVE_EVERY_S", -1.0)
    begun = job("begun")
    if first_on_two:
        assert on_ranks(trained, begun, 4) == [None, None]
        with pytest.raises(
            StoreError, match=r"of a training on 2 ranks.*this run has 1 rank.*delete the folder .*begun"
        ):
            trained(ALONE, begun)
        return
    assert trained(ALONE, begun, 4) is None
    errors = on_ranks(trained, begun)
    assert [type(error) for error in errors] == [StoreError, StoreError]
    assert "of a training on 1 rank, and this run has 2 ranks" in str(errors[0])


@dataclass(frozen=True)
class Unmoved(Job):
    """Its dev score never moves."""

    def score(self, network: PreTrainedModel) -> Mapping[str, float]:
        """Zero."""
        return {"fit": 0.0}


def test_early_stopping_stops_both_ranks(job: Callable[..., Job], on_ranks: RankProcesses) -> None:
    """After the first epoch without a better score, as on one; only rank 0 knows the score by itself."""
    one = job("unmoved", patience=1)
    results = on_ranks(trained, Unmoved(one.student, one.teacher, one.mixture, one.folder, one.settings))

    assert [state["stopped_early"] for _, state in results] == [True, True]
    assert [len(state["history"]) for _, state in results] == [2, 2]
    assert torch.equal(results[0][0], results[1][0])


def test_accumulated_and_recomputed_steps_end_where_those_of_one_do(
    job: Callable[..., Job], on_ranks: RankProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two micro-batches to a step, some of fewer items than ranks, with the layers computed again for the gradient."""
    monkeypatch.setattr(loop, "SAVE_EVERY_S", -1.0)
    settings = {"gradient_accumulation_steps": 2, "gradient_checkpointing": True, "batch_tokens": 25}
    alone = trained(ALONE, job("one", **settings))
    first, second = on_ranks(trained, job("two", **settings))

    assert alone is not None
    assert torch.equal(first[0], second[0])
    assert (first[0] - alone[0]).abs().quantile(0.99) < 1e-6
    assert first[1]["step"] == alone[1]["step"]


def diverged(ranks: Ranks, job: Job) -> None:
    """A training whose loss is nan."""
    torch.nn.init.constant_(job.student.get_input_embeddings().weight, float("nan"))
    trained(ranks, job)


def test_a_diverged_training_ends_on_both_ranks(job: Callable[..., Job], on_ranks: RankProcesses) -> None:
    """Both know the loss of the whole step, so none waits for the other."""
    errors = on_ranks(diverged, job("diverged"))
    assert [type(error) for error in errors] == [TrainingError, TrainingError]
