"""Killed anywhere and called again, a training ends as if nothing had happened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Sampling
from understudy.config.training import Training
from understudy.models.forward import target_logits
from understudy.objectives import OBJECTIVES
from understudy.training.batches import collate
from understudy.training.checkpoints import TrainState
from understudy.training.loop import train
from understudy.training.mixture import Mixture, TrainItem
from understudy.training.step import BoundObjective, TrainSpec
from understudy.training.student_sampling import StudentSampler

Build = Callable[..., PreTrainedModel]
SETTINGS = Training(
    learning_rate=1e-2, epochs=3, batch_tokens=25, gradient_accumulation_steps=2, targets_per_source=2, warmup_steps=3
)
EACH_STEP, EACH_EPOCH = -1.0, 3600.0
"""Seconds between two saves in the midst of an epoch."""


class Killed(BaseException):
    """As sudden as a signal."""


class Fuse:
    """Lets so many calls pass, then kills."""

    def __init__(self, calls: int | None) -> None:
        self.calls, self.count, self.heard = calls, 0, 0.0

    def burn(self) -> None:
        """A call."""
        if self.count == self.calls:
            raise Killed
        self.count += 1

    def __call__(self, amount: float, note: str = "") -> None:
        """A call, as `advance`."""
        self.burn()
        self.heard += amount


class Desk:
    """A distillation with dropout and texts of the student in two rounds per epoch, the first by the teacher."""

    def __init__(self, build: Build, tokenizer: PreTrainedTokenizerBase, mixture: Mixture, folder: Path) -> None:
        self.build, self.tokenizer, self.folder = build, tokenizer, folder
        self.mixture = replace(
            mixture,
            shares={"gold": 0.2, "teacher": 0.4, "student": 0.4},
            targets_per_source=2,
            rounds_per_epoch=2,
            student_from_round=1,
        )

    def score(self, network: PreTrainedModel) -> Mapping[str, float]:
        """Log-likelihood of a gold text; any number will do that looks at the weights."""
        network.eval()
        texts = {"gold": self.mixture.targets["gold"].texts}
        batch = collate([TrainItem(0, "gold", (0,))], self.mixture.sources, texts, pad=0)  # type: ignore[arg-type]
        with torch.no_grad():
            logits_NV = target_logits(network, **batch.inputs(network.device))
        return {"fit": float(logits_NV.log_softmax(-1)[range(len(logits_NV)), batch.target_ids_BT[0]].sum())}

    def train(self, advance: Fuse, dev: Fuse, settings: Training = SETTINGS) -> tuple[bytes, TrainState]:
        """The weights as bytes, and how the training stood."""

        def score(network: PreTrainedModel) -> Mapping[str, float]:
            dev.burn()
            return self.score(network)

        network = self.build(dropout=0.2)
        goal = TrainSpec(
            BoundObjective(OBJECTIVES["forward_kl"], {"temperature": 2.0}), self.build(seed=1),
            network.config.vocab_size, score, "fit",
            higher_is_better=False, judge_start=True,
        )  # fmt: skip
        writer = StudentSampler(
            self.mixture.sources, [f"input {s}" for s in range(8)], self.tokenizer, "hf", Sampling(), max_tokens=5,
            seed=3, provenance={}, folder=self.folder / "student_samples",
        )  # fmt: skip
        standing = train(
            network, self.mixture, goal, settings=settings, seed=3, precision="float32", pad=0, folder=self.folder,
            sample_student=writer, advance=advance,
        )  # fmt: skip
        return b"".join(p.detach().numpy().tobytes() for p in network.parameters()), standing


@pytest.fixture
def desk(build: Build, tokenizer: PreTrainedTokenizerBase, mixture: Mixture, tmp_path: Path) -> Desk:
    """A desk in a folder of its own."""
    return Desk(build, tokenizer, mixture, tmp_path)


def told(standing: TrainState) -> dict[str, object]:
    """All of a standing but the clock."""
    history = [{name: value for name, value in row.items() if name != "seconds"} for row in standing.history]
    return {**vars(standing), "history": history, "seconds": None}


@dataclass(frozen=True)
class Whole:
    """How the uninterrupted training ended."""

    weights: bytes
    told: dict[str, object]
    heard: float


@pytest.fixture(scope="module")
def whole(
    build: Build, tokenizer: PreTrainedTokenizerBase, mixture: Mixture, tmp_path_factory: pytest.TempPathFactory
) -> Whole:
    """Trained once: two or three steps a round, the best weights in its midst, texts of the student in five rounds."""
    folder, listener = tmp_path_factory.mktemp("whole"), Fuse(None)
    weights, standing = Desk(build, tokenizer, mixture, folder).train(listener, Fuse(None))
    assert standing.step > 2 * 6
    assert 0 < standing.best_step < standing.step
    assert len(list((folder / "student_samples").iterdir())) == 5
    return Whole(weights, told(standing), listener.heard)


@pytest.mark.parametrize(
    ("steps", "looks", "save_every_s"),
    [
        (1, None, EACH_STEP),
        (11, None, EACH_STEP),
        (11, None, EACH_EPOCH),
        (20, None, EACH_STEP),
        (None, 0, EACH_EPOCH),
        (None, 2, EACH_EPOCH),
        (None, 3, EACH_STEP),
    ],
)
def test_resumed_is_uninterrupted(
    steps: int | None, looks: int | None, save_every_s: float, desk: Desk, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes and the same history, whether killed between steps or while dev was scored."""
    monkeypatch.setattr("understudy.training.loop.SAVE_EVERY_S", save_every_s)
    with pytest.raises(Killed):
        desk.train(Fuse(steps), Fuse(looks))
    again = Fuse(None)
    weights, standing = desk.train(again, Fuse(None))

    assert weights == whole.weights
    assert told(standing) == whole.told
    assert again.heard == pytest.approx(whole.heard)


def test_a_machine_that_dies_all_the_time_gets_there(desk: Desk, whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps at a time lead to the same end as all steps at once."""
    monkeypatch.setattr("understudy.training.loop.SAVE_EVERY_S", EACH_STEP)
    lives, found = 0, None
    while found is None:
        lives += 1
        try:
            found = desk.train(Fuse(3), Fuse(None))
        except Killed:
            assert lives < 50  # the test must end, whatever the loop does

    assert lives > 5
    assert (found[0], told(found[1])) == (whole.weights, whole.told)


@pytest.mark.parametrize("keep", ["last", "average"])
def test_the_weights_of_the_end_survive_a_kill(
    keep: str, desk: Desk, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last, or the mean of those towards the end, as without a kill, although dev liked others better."""
    monkeypatch.setattr("understudy.training.loop.SAVE_EVERY_S", EACH_STEP)
    last = SETTINGS.model_copy(update={"keep_weights": keep})
    aside = Desk(desk.build, desk.tokenizer, desk.mixture, tmp_path_factory.mktemp("whole"))
    uninterrupted = aside.train(Fuse(None), Fuse(None), last)
    for fuses in ((Fuse(11), Fuse(None)), (Fuse(None), Fuse(0))):
        with pytest.raises(Killed):
            desk.train(*fuses, last)
    weights, standing = desk.train(Fuse(None), Fuse(None), last)

    assert weights == uninterrupted[0]
    assert told(standing) == told(uninterrupted[1])
    assert standing.best_step == standing.step
    assert standing.history[-1]["fit"] > min(row["fit"] for row in standing.history)
