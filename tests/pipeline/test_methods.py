"""The first steps of every method: which targets it learns, and its loss against a naive reference.

Weights hardly change at a learning rate of 1e-12, and an epoch is one optimizer step: the loss of each epoch is that of
one step on the initial weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from tests.pipeline import naive_losses as naive
from tests.pipeline.method_steps import (
    EPOCHS,
    GOLD,
    KEPT,
    LABELED,
    SOURCES,
    UNLABELED,
    Learned,
    Recorded,
    World,
    plan,
    teacher_network,
    trained,
)
from transformers import PreTrainedModel

from understudy.config.model_sections import Architecture
from understudy.config.presets import PRESETS
from understudy.models.checkpoint import load_network
from understudy.pipeline.stages.student import StudentStage
from understudy.pool.pool import PseudoTargetPool
from understudy.store.stage import inputs_of
from understudy.training.batches import plan_batches
from understudy.training.mixture import plan_round


@dataclass(frozen=True)
class Expected:
    """What docs/methods.md says of a method, in three epochs."""

    loss: naive.Loss
    gold: Sequence[int] = (0, 0, 0)
    """Targets of each epoch."""
    teacher: int = 0
    student: Sequence[int] = (0, 0, 0)
    on_samples: naive.Loss | None = None
    share: Sequence[float] | None = None
    """The share of student samples, where it moves."""
    dense: bool = False
    """Whether whole distributions are compared, and not the most probable tokens."""
    t: Sequence[float] | None = None
    """TAID's interpolation, on the straight line from 0.4 to 1."""
    dropout: bool = False
    """Whether the networks have dropout, which this method must turn off."""


ALL_GOLD = (LABELED + 2,) * EPOCHS
SOME_GOLD = (2,) * EPOCHS
"""A tenth of gold for nine tenths of sixteen inputs."""
HALF = (8,) * EPOCHS
EVERY = (16,) * EPOCHS
METHODS = {
    "fine_tune": Expected(naive.cross_entropy, ALL_GOLD),
    "logits_kd": Expected(naive.forward_kl, ALL_GOLD),
    "sequence_level": Expected(naive.cross_entropy, (LABELED,) * EPOCHS, teacher=LABELED),
    "logits_pt": Expected(naive.forward_kl, (LABELED,) * EPOCHS, teacher=LABELED),
    "logits_pt_unlabeled": Expected(naive.forward_kl, SOME_GOLD, teacher=16),
    "k_beams": Expected(naive.forward_kl, SOME_GOLD, teacher=16),
    "sampling": Expected(naive.forward_kl, SOME_GOLD, teacher=16),
    "hot_sampling": Expected(naive.forward_kl, SOME_GOLD, teacher=16),
    "student_only": Expected(naive.forward_kl, SOME_GOLD, student=EVERY),
    "joint_teaching": Expected(naive.forward_kl, SOME_GOLD, teacher=8, student=HALF),
    "extreme_fine_tune": Expected(naive.cross_entropy, teacher=UNLABELED),
    "extreme_logits": Expected(naive.forward_kl, teacher=UNLABELED),
    "gkd": Expected(naive.jsd, EVERY, student=EVERY),
    # 1 - 200^(-t) of sixteen inputs at t = 0, 1/3 and 2/3.
    "imitkd": Expected(
        naive.argmax_cross_entropy,
        (16, 3, 0),
        student=(0, 13, 16),
        share=(0.0, 1 - 200 ** (-1 / 3), 1 - 200 ** (-2 / 3)),
    ),
    "f_distill_js": Expected(naive.jsd, SOME_GOLD, teacher=8, student=HALF),
    "f_distill_tvd": Expected(naive.tvd, SOME_GOLD, teacher=8, student=HALF),
    # The dev score gets worse at the second evaluation.
    "distillm": Expected(naive.skew_kl, (16, 16, 14), student=(0, 0, 2), share=(0.0, 0.0, 0.1)),
    "distillm2": Expected(naive.skew_kl, SOME_GOLD, teacher=8, student=HALF, on_samples=naive.skew_reverse_kl),
    # Dense: half precision in the cache decides how little is left for the tail, and TAID's interpolation enlarges it.
    "taid": Expected(partial(naive.taid, t=0.4), SOME_GOLD, teacher=16, dense=True, t=(0.4, 0.6, 0.8)),
    "pseudo_label_regularisation": Expected(naive.cross_entropy, (LABELED,) * EPOCHS, teacher=LABELED),
    "self_distillation": Expected(naive.cross_entropy, SOME_GOLD, teacher=16),
    "joint_teaching_swa": Expected(naive.forward_kl, SOME_GOLD, teacher=8, student=HALF, dropout=True),
}
"""All but noisy_kd, whose loss is random, and those with a second loss."""
DECODER_ONLY = ("fine_tune", "logits_kd", "sequence_level", "joint_teaching")
"""Methods that are also tried with GPT-2, whose sources and targets share a row."""


def check_provenance(learned: Sequence[Learned], done: Recorded, pool: Path | None, epoch: int) -> None:
    """Gold targets are those of the file, and the teacher's are the pool's in turn."""
    decode = done.job.tokenizer.decode
    opened = PseudoTargetPool.open(pool) if pool else None
    for generator, (source, target), item in learned:
        assert decode(source).strip() == SOURCES[item.source]
        if generator == "gold":
            assert item.source < LABELED
            assert decode(target).strip() in GOLD[item.source]
        if generator == "teacher":
            assert opened is not None
            input_ids = [f"labeled-{i + 1}" for i in range(LABELED)] + [f"unlabeled-{i + 1}" for i in range(UNLABELED)]
            texts = opened.targets_of(input_ids[item.source])
            assert list(texts[epoch % len(texts)].token_ids) == target


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One store for all methods."""
    return World(tmp_path_factory.mktemp("methods"))


CASES = [("bart", method) for method in METHODS] + [("gpt2", method) for method in DECODER_ONLY]


@pytest.mark.parametrize(("architecture", "method"), CASES)
def test_the_loss_of_a_step_is_that_of_the_method(
    world: World, architecture: Architecture, method: str, tmp_path: Path
) -> None:
    """In every epoch the targets are those of the table, and the loss is the naive one."""
    expected = METHODS[method]
    kind = {"kind": "dense"} if expected.dense else {"kind": "sparse", "top": KEPT, "top_p": 1.0}
    dropout = 0.1 if expected.dropout else 0.0
    stages = world.stages(method, architecture, dropout=dropout, distil={"teacher_logprobs": kind})
    for number, stage in enumerate(stages):
        done = trained(stage, world.context, tmp_path / str(number))
        pool = world.context.folder(stage.pool) if stage.pool else None
        teacher = teacher_network(stage, world.context)
        student = load_network(world.checkpoint(architecture, "student", dropout)).double().eval()
        epochs = [plan(done, epoch, expected.share[epoch] if expected.share else None) for epoch in range(EPOCHS)]
        for epoch, learned in enumerate(epochs):
            generators = [generator for generator, _, _ in learned]
            check_provenance(learned, done, pool, epoch)

            assert generators.count("gold") == expected.gold[epoch]
            assert generators.count("teacher") == expected.teacher
            assert generators.count("student") == expected.student[epoch]
            reference = losses(expected, learned, student, teacher, epoch)
            found = done.state.history[epoch]["train_loss"]
            assert found == pytest.approx(reference, rel=1e-4 if expected.dense else 2e-3)


def losses(
    expected: Expected,
    learned: Sequence[Learned],
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    epoch: int,
) -> float:
    """The naive mean loss over the positions of an epoch."""
    on_texts = partial(naive.taid, t=expected.t[epoch]) if expected.t else expected.loss
    sums = []
    for generator, pair, _ in learned:
        loss = expected.on_samples if generator == "student" and expected.on_samples else on_texts
        sums.append(naive.loss_of(loss, student, teacher, pair, tokens=None if expected.dense else KEPT))
    return naive.mean_loss(sums, [pair for _, pair, _ in learned])


@pytest.mark.parametrize("architecture", ["bart", "gpt2"])
@pytest.mark.parametrize("of", ["attention", "hidden"])
def test_relations_have_an_equal_share_of_the_loss(
    world: World, architecture: Architecture, of: str, tmp_path: Path
) -> None:
    """Both terms are divided by their mean over the first batch: half of each is in the loss of all batches."""
    relations = {"of": of, "scale_batches": 1}
    (stage,) = world.stages(
        f"{of}_relations_kd", architecture, distil={"relations": relations}, training={"batch_tokens": 20}
    )
    done = trained(stage, world.context, tmp_path / "training")
    student = load_network(world.checkpoint(architecture, "student", 0.0)).double().eval()
    teacher = teacher_network(stage, world.context)
    pairs = {item: pair for _, pair, item in plan(done, 0, None)}
    terms = {
        item: (
            naive.loss_of(naive.forward_kl, student, teacher, pair),
            naive.relation_loss(of, student, teacher, pair, heads=2),
        )
        for item, pair in pairs.items()
    }
    mixture = done.job.mixture
    texts = {generator: targets.texts for generator, targets in mixture.targets.items()}
    seed = done.job.settings.seed
    items = plan_round(mixture, number=0, seed=seed)
    first, *others = plan_batches(items, mixture.sources, texts, batch_tokens=20, seed=(seed, 0))
    means = [naive.mean_loss([terms[item][part] for item in first], [pairs[item] for item in first]) for part in (0, 1)]
    totals = [
        naive.mean_loss([terms[item][part] for item in items], [pairs[item] for item in items]) for part in (0, 1)
    ]

    assert others
    assert done.state.history[0]["train_loss"] == pytest.approx(
        sum(0.5 * total / max(mean, 0.025) for total, mean in zip(totals, means, strict=True)), rel=1e-4
    )
    assert min(means) > 0.025


def test_the_noise_of_a_teacher_is_its_dropout(world: World, tmp_path: Path) -> None:
    """Without it, noisy_kd has the loss of logits_kd with whole distributions; with it, another one each step."""
    steps = {}
    for name, dropout in (("noisy", True), ("quiet", False)):
        (stage,) = world.stages(
            "noisy_kd", "bart", dropout=0.1, distil={"enable_teacher_dropout": dropout, "enable_student_dropout": False}
        )
        done = trained(stage, world.context, tmp_path / name)
        steps[name] = [row["train_loss"] for row in done.state.history]
    student = load_network(world.checkpoint("bart", "student", 0.1)).double().eval()
    learned = plan(done, 0, None)
    quiet = Expected(naive.forward_kl, dense=True)
    reference = losses(quiet, learned, student, teacher_network(stage, world.context), 0)

    assert steps["quiet"] == pytest.approx([reference] * EPOCHS, rel=1e-4)
    assert len({round(loss / reference, 3) for loss in (*steps["noisy"], reference)}) == EPOCHS + 1


def test_every_method_is_here() -> None:
    """The table has all presets."""
    tested = {*METHODS, "noisy_kd", "attention_relations_kd", "hidden_relations_kd"}

    assert tested == set(PRESETS)


def test_the_second_generation_learns_from_the_first(world: World) -> None:
    """Its teacher and the author of its targets are the first student."""
    first, second = world.stages("self_distillation", "bart")

    assert teacher_and_author(second) == {first.key}
    assert len(teacher_and_author(first)) == 1


def test_students_of_two_seeds_share_teacher_and_pool(world: World) -> None:
    """Another `student_seed` draws the students anew and nothing else."""
    one, other = (world.stages("logits_pt", "bart", student_seed=seed)[0] for seed in (1, 2))

    assert one.key != other.key
    assert dict(inputs_of(one)) == dict(inputs_of(other))


def teacher_and_author(stage: StudentStage) -> set[str]:
    """The keys of the network that a student is compared with, and of the one that generated its pool."""
    inputs = dict(inputs_of(stage))
    conversion = dict(inputs_of(inputs["pool"]))["teacher"]
    return {inputs["teacher.network"].key, dict(inputs_of(conversion))["network"].key}
