"""A training that is interrupted anywhere and called again ends as an uninterrupted one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from tests.training.contexts import CPU, make_spec
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Sampling
from understudy.config.training import Lora, Training
from understudy.models.adapters import add_adapter
from understudy.models.forward import target_logits
from understudy.objectives import OBJECTIVES
from understudy.progress import NO_VALUES, Values
from understudy.training.batches import collate
from understudy.training.items import TrainItem
from understudy.training.loop import train
from understudy.training.mixture import AutoTargets, Mixture
from understudy.training.spec import BoundObjective, DevScoring
from understudy.training.state import TrainState
from understudy.training.student_sampling import StudentSampler

Build = Callable[..., PreTrainedModel]
SETTINGS = Training(
    learning_rate=1e-2, epochs=3, batch_tokens=25, gradient_accumulation_steps=2, targets_per_source=2, warmup_steps=3
)
EACH_STEP, EACH_EVALUATION = -1.0, 3600.0
"""Seconds between two saves within an epoch."""


class Interrupted(BaseException):
    """An interruption that no code catches."""


class CallLimit:
    """Allows a number of calls (None: any), then raises."""

    def __init__(self, calls: int | None) -> None:
        self.calls, self.count, self.amount = calls, 0, 0.0

    def check(self) -> None:
        """Counts a call."""
        if self.count == self.calls:
            raise Interrupted
        self.count += 1

    def __call__(self, amount: float, note: str = "", values: Values = NO_VALUES) -> None:
        """Counts a call of the progress callback and adds up its amounts."""
        self.check()
        self.amount += amount


class Distillation:
    """A distillation with dropout and student samples in two rounds per epoch, the first round with teacher texts."""

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
        """Log-likelihood of a gold text; any function of the weights will do."""
        network.eval()
        texts = {"gold": self.mixture.targets["gold"].texts}
        batch = collate([TrainItem(0, "gold", (0,))], self.mixture.sources, texts, pad=0)  # type: ignore[arg-type]
        with torch.no_grad():
            logits_NV = target_logits(network, **batch.inputs(network.device))
        return {"fit": float(logits_NV.log_softmax(-1)[range(len(logits_NV)), batch.target_ids_BT[0]].sum())}

    def train(
        self, progress: CallLimit, evaluations: CallLimit, settings: Training = SETTINGS
    ) -> tuple[bytes, TrainState]:
        """The weights as bytes, and the final state."""

        def score(network: PreTrainedModel) -> Mapping[str, float]:
            evaluations.check()
            return self.score(network)

        network = self.build(dropout=0.2)
        if settings.lora:
            add_adapter(network, settings.lora, seed=3)
        spec = make_spec(network, self.build(seed=1))
        objective = BoundObjective(OBJECTIVES["forward_kl"], {"temperature": 2.0})
        dev = DevScoring(score, "fit", higher_is_better=False, evaluate_start=True)
        input_ids = pa.chunked_array([[f"input {s}" for s in range(8)]])
        sampler = StudentSampler(
            self.mixture.sources, input_ids, self.tokenizer, "hf", Sampling(), max_tokens=5,
            seed=3, provenance={}, folder=self.folder / "student_samples",
        )  # fmt: skip
        state = train(
            network, self.mixture, replace(spec, loss=replace(spec.loss, objective=objective), dev=dev),
            settings=settings, seed=3, precision="float32", device=CPU, pad=0, folder=self.folder,
            sample_student=sampler, progress=progress,
        )  # fmt: skip
        return b"".join(p.detach().numpy().tobytes() for p in network.parameters()), state


@pytest.fixture
def distillation(build: Build, tokenizer: PreTrainedTokenizerBase, mixture: Mixture, tmp_path: Path) -> Distillation:
    """A distillation in its own folder."""
    return Distillation(build, tokenizer, mixture, tmp_path)


def without_times(state: TrainState) -> dict[str, object]:
    """All of a state but the seconds."""
    history = [{name: value for name, value in row.items() if name != "seconds"} for row in state.history]
    return {**vars(state), "history": history, "seconds": None}


@dataclass(frozen=True)
class Reference:
    """The end of the uninterrupted training."""

    weights: bytes
    state: dict[str, object]
    progress: float


@pytest.fixture(scope="module")
def reference(
    build: Build, tokenizer: PreTrainedTokenizerBase, mixture: Mixture, tmp_path_factory: pytest.TempPathFactory
) -> Reference:
    """Trained once: two or three steps per round, the best weights before the end, samples in five rounds."""
    folder, progress = tmp_path_factory.mktemp("reference"), CallLimit(None)
    weights, state = Distillation(build, tokenizer, mixture, folder).train(progress, CallLimit(None))
    assert state.step > 2 * 6
    assert 0 < state.best_step < state.step
    assert len(list((folder / "student_samples").iterdir())) == 5
    return Reference(weights, without_times(state), progress.amount)


@pytest.mark.parametrize(
    ("steps", "evaluations", "save_every_s"),
    [
        (1, None, EACH_STEP),
        (11, None, EACH_STEP),
        (11, None, EACH_EVALUATION),
        (20, None, EACH_STEP),
        (None, 0, EACH_EVALUATION),
        (None, 2, EACH_EVALUATION),
        (None, 3, EACH_STEP),
    ],
)
def test_resumed_equals_uninterrupted(
    steps: int | None,
    evaluations: int | None,
    save_every_s: float,
    distillation: Distillation,
    reference: Reference,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same bytes, state and history, whether interrupted between steps or while dev was scored."""
    monkeypatch.setattr("understudy.training.loop.SAVE_EVERY_S", save_every_s)
    with pytest.raises(Interrupted):
        distillation.train(CallLimit(steps), CallLimit(evaluations))
    progress = CallLimit(None)
    weights, state = distillation.train(progress, CallLimit(None))

    assert weights == reference.weights
    assert without_times(state) == reference.state
    assert progress.amount == pytest.approx(reference.progress)


def test_many_interruptions_do_not_change_the_result(
    distillation: Distillation, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps at a time end as all steps at once."""
    monkeypatch.setattr("understudy.training.loop.SAVE_EVERY_S", EACH_STEP)
    attempts, found = 0, None
    while found is None:
        attempts += 1
        try:
            found = distillation.train(CallLimit(3), CallLimit(None))
        except Interrupted:
            assert attempts < 50  # the test must end, whatever the loop does

    assert attempts > 5
    assert (found[0], without_times(found[1])) == (reference.weights, reference.state)


@pytest.mark.parametrize("keep_weights", ["last", "average"])
def test_last_and_averaged_weights_survive_an_interruption(
    keep_weights: str,
    distillation: Distillation,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are those of an uninterrupted training, although other weights had a better dev score."""
    monkeypatch.setattr("understudy.training.loop.SAVE_EVERY_S", EACH_STEP)
    settings, folder = SETTINGS.model_copy(update={"keep_weights": keep_weights}), tmp_path_factory.mktemp("reference")
    other = Distillation(distillation.build, distillation.tokenizer, distillation.mixture, folder)
    uninterrupted = other.train(CallLimit(None), CallLimit(None), settings)
    for limits in ((CallLimit(11), CallLimit(None)), (CallLimit(None), CallLimit(0))):
        with pytest.raises(Interrupted):
            distillation.train(*limits, settings)
    weights, state = distillation.train(CallLimit(None), CallLimit(None), settings)

    assert weights == uninterrupted[0]
    assert without_times(state) == without_times(uninterrupted[1])
    assert state.best_step == state.step
    assert state.history[-1]["fit"] > min(row["fit"] for row in state.history)


@pytest.mark.parametrize("keep_weights", ["best", "average"])
def test_a_training_with_an_adapter_survives_interruptions(
    keep_weights: str,
    distillation: Distillation,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same bytes; checkpoints and the weights that are kept hold the adapter alone, the frozen weights stay."""
    monkeypatch.setattr("understudy.training.loop.SAVE_EVERY_S", EACH_STEP)
    lora = Lora(rank=2, dropout=0.1)
    settings, folder = SETTINGS.model_copy(update={"keep_weights": keep_weights, "lora": lora}), distillation.folder
    other = Distillation(
        distillation.build, distillation.tokenizer, distillation.mixture, tmp_path_factory.mktemp("reference")
    )
    uninterrupted = other.train(CallLimit(None), CallLimit(None), settings)
    for limits in ((CallLimit(11), CallLimit(None)), (CallLimit(None), CallLimit(1))):
        with pytest.raises(Interrupted):
            distillation.train(*limits, settings)
    weights, state = distillation.train(CallLimit(None), CallLimit(None), settings)
    saved = [load_file(path) for path in folder.rglob("*.safetensors")]
    other_names = {name.rpartition(".")[2] for own in saved for name in own if ".lora_" not in name}

    assert weights == uninterrupted[0]
    assert without_times(state) == without_times(uninterrupted[1])
    assert len(saved) == (3 if keep_weights == "average" else 2)
    assert other_names <= {"final_logits_bias", "n_averaged"}  # buffers
    assert len({row["fit"] for row in state.history}) == len(state.history)


@pytest.mark.parametrize("steps", [1, 11])
def test_resumed_equals_uninterrupted_with_auto_targets(
    steps: int,
    build: Build,
    tokenizer: PreTrainedTokenizerBase,
    mixture: Mixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two targets per source in three epochs, of which the last uses one."""
    monkeypatch.setattr("understudy.training.loop.SAVE_EVERY_S", EACH_STEP)
    whole, resumed = (Distillation(build, tokenizer, mixture, tmp_path / name) for name in ("whole", "resumed"))
    for distillation in (whole, resumed):
        distillation.folder.mkdir()
        distillation.mixture = replace(distillation.mixture, auto=AutoTargets(3, 9.0, 9.0, 2))
    weights, state = whole.train(CallLimit(None), CallLimit(None))
    with pytest.raises(Interrupted):
        resumed.train(CallLimit(steps), CallLimit(None))
    again, after = resumed.train(CallLimit(None), CallLimit(None))

    assert again == weights
    assert without_times(after) == without_times(state)
