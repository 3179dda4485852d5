"""Killed anywhere and called again, a training ends as if nothing had happened."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Sampling
from understudy.config.training import Training
from understudy.models.forward import target_logits
from understudy.objectives import OBJECTIVES
from understudy.training.batches import collate
from understudy.training.checkpoints import Standing
from understudy.training.loop import Goal, train
from understudy.training.mixture import Lesson, Mixture
from understudy.training.student_text import StudentWriter

Build = Callable[..., PreTrainedModel]
SETTINGS = Training(learning_rate=1e-2, epochs=3, batch_tokens=60, accumulate=2, targets_per_source=2, warmup_steps=3)


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
        """Log-likelihood of a gold text."""
        network.eval()
        texts = {"gold": self.mixture.targets["gold"].texts}
        batch = collate([Lesson(0, "gold", (0,))], self.mixture.sources, texts, pad=0)  # type: ignore[arg-type]
        with torch.no_grad():
            logits_NV = target_logits(network, **batch.inputs(network.device))
        return {"fit": float(logits_NV.log_softmax(-1)[range(len(logits_NV)), batch.target_ids_BT[0]].sum())}

    def train(self, advance: Fuse, dev: Fuse) -> tuple[bytes, Standing]:
        """The weights as bytes, and how the training stood."""

        def score(network: PreTrainedModel) -> Mapping[str, float]:
            dev.burn()
            return self.score(network)

        network = self.build(dropout=0.2)
        self.folder.mkdir(exist_ok=True)
        goal = Goal(
            OBJECTIVES["forward_kl"], {"temperature": 2.0}, self.build(seed=1), network.config.vocab_size, score, "fit",
            higher_is_better=True, judge_start=True,
        )  # fmt: skip
        writer = StudentWriter(
            self.mixture.sources, [f"input {s}" for s in range(8)], self.tokenizer, "hf", Sampling(), max_tokens=5,
            seed=3, provenance={}, folder=self.folder / "student_text",
        )  # fmt: skip
        standing = train(
            network, self.mixture, goal, settings=SETTINGS, seed=3, precision="no", pad=0, folder=self.folder,
            write_texts=writer, advance=advance,
        )  # fmt: skip
        return b"".join(p.detach().numpy().tobytes() for p in network.parameters()), standing


def told(standing: Standing) -> dict[str, object]:
    """All of a standing but the clock."""
    history = [{name: value for name, value in row.items() if name != "seconds"} for row in standing.history]
    return {**vars(standing), "history": history, "seconds": None}


@pytest.fixture(scope="module")
def whole() -> dict[str, object]:
    """The uninterrupted training, made by the first test that asks for it."""
    return {}


@pytest.mark.parametrize("save_every_s", [-1.0, 3600.0], ids=["saved-each-step", "saved-each-epoch"])
@pytest.mark.parametrize(
    ("steps", "looks"), [(1, None), (3, None), (9, None), (14, None), (None, 0), (None, 1), (None, 3)]
)
def test_resumed_is_uninterrupted(
    steps: int | None,
    looks: int | None,
    save_every_s: float,
    build: Build,
    tokenizer: PreTrainedTokenizerBase,
    mixture: Mixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[str, object],
) -> None:
    """The same bytes and the same history, whether killed between steps or while dev was scored."""
    monkeypatch.setattr("understudy.training.loop.SAVE_EVERY_S", save_every_s)
    if not whole:
        listener = Fuse(None)
        straight = Desk(build, tokenizer, mixture, tmp_path / "straight")
        whole["bytes"], standing = straight.train(listener, Fuse(None))
        whole.update(told=told(standing), calls=listener.count, heard=listener.heard)
        texts = list((tmp_path / "straight" / "student_text").iterdir())
        assert len(texts) == 5

    desk = Desk(build, tokenizer, mixture, tmp_path / "killed")
    with pytest.raises(Killed):
        desk.train(Fuse(steps), Fuse(looks))
    again = Fuse(None)
    found, standing = desk.train(again, Fuse(None))

    assert found == whole["bytes"]
    assert told(standing) == whole["told"]
    assert again.heard == pytest.approx(whole["heard"])


def test_a_kill_at_every_step_is_survived(
    build: Build, tokenizer: PreTrainedTokenizerBase, mixture: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that lives for two steps at a time comes to the same end as one that lives on."""
    monkeypatch.setattr("understudy.training.loop.SAVE_EVERY_S", -1.0)
    straight = Desk(build, tokenizer, mixture, tmp_path / "straight").train(Fuse(None), Fuse(None))[0]
    desk, lives = Desk(build, tokenizer, mixture, tmp_path / "killed"), 0
    while True:
        lives += 1
        try:
            found, _ = desk.train(Fuse(3), Fuse(None))
            break
        except Killed:
            assert lives < 100

    assert lives > 5
    assert found == straight
