"""A teacher with another tokenizer gives the student's tokens their probabilities, byte by byte."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.models.special_tokenizers import byte_fallback, byte_level_of
from tests.models.test_vocabulary import trimmed
from tests.sizes import small
from transformers import PreTrainedTokenizerBase

from understudy.models.byte_prefix import BytePrefixMap
from understudy.models.scratch import build_network
from understudy.models.task_tokenizer import TaskTokenizer
from understudy.models.token_bytes import TokenBytes
from understudy.models.tokenizers import train_tokenizer
from understudy.objectives.divergences import forward_kl, reverse_kl
from understudy.objectives.sparse import bucketed
from understudy.pool.logprob_cache import TeacherLogprobs
from understudy.pool.token_arrays import TokenArrays
from understudy.training.byte_alignment import TokenReading
from understudy.training.byte_prefix_mass import StudentPosition, student_mass
from understudy.training.items import TrainItem
from understudy.training.other_tokenizer import OtherTokenizer
from understudy.training.step import TargetLogits
from understudy.training.teacher_logprobs import TeacherLogprobScorer

TEXTS = [
    "In 2024, 1,250 people came to São Paulo.",
    "世界 is 世 and 界, 世界人口 8,118,836,000",
    "🙂🙃 and 🙂, then 👩‍👩‍👧!",
    "a café near the Mill, the Millers and the Milling",
    "the end",
]
Make = Callable[[], PreTrainedTokenizerBase]


@cache
def words() -> PreTrainedTokenizerBase:
    """As the package trains them, with many merges: digits one by one, a space before each text."""
    return train_tokenizer(TEXTS * 3, vocab_size=210)


@cache
def letters() -> PreTrainedTokenizerBase:
    """The same with hardly any merges."""
    return train_tokenizer(TEXTS * 3, vocab_size=160)


@cache
def byte_level() -> PreTrainedTokenizerBase:
    """As GPT-2's: characters may be split, and no space is put before a text."""
    return with_start(byte_level_of(TEXTS * 3, vocab_size=300))


@cache
def byte_words() -> PreTrainedTokenizerBase:
    """The same with more merges."""
    return with_start(byte_level_of(TEXTS * 3, vocab_size=400))


def with_start(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer with the token that a network from scratch needs."""
    tokenizer.bos_token = "<|start|>"  # noqa: S105 - not a secret
    return tokenizer


@cache
def fallback() -> PreTrainedTokenizerBase:
    """As Gemma's: bytes where a character has no piece."""
    return byte_fallback(["the Mill and 世 20"] * 3, vocab_size=290)


PAIRS = pytest.mark.parametrize(
    ("teacher", "student"),
    [
        (words, letters),
        (letters, words),
        (words, byte_level),
        (byte_words, letters),
        (byte_words, byte_level),
        (byte_level, fallback),
        (fallback, words),
    ],
)


def reads(tokenizer: PreTrainedTokenizerBase, *, positions: int | None = None) -> TaskTokenizer:
    """How a decoder-only model with this tokenizer reads a task."""
    return TaskTokenizer(tokenizer, False, "{source}", 200, 200, max_positions=positions)


def naive(
    probs: Sequence[Sequence[float]], own: Sequence[int], labels: Sequence[int], pair: OtherTokenizer
) -> list[dict[int, float]]:
    """The student's distributions by loops over all continuations and all tokens, one byte after the other."""
    tokens, student = pair.tokens, TokenBytes(pair.student.tokenizer)
    surfaces = [tokens.teacher[token_id] or b"" for token_id in own]
    lead_t, lead_s = (
        b"".join(surfaces).startswith(b" "),
        b"".join(tokens.student[label] or b"" for label in labels).startswith(b" "),
    )
    # Places count from the first letter: a space before the text has place -1.
    starts = np.cumsum([0, *map(len, surfaces)]) - lead_t
    place, found = -int(lead_s), []

    @cache
    def become(candidate: bytes, after: bytes) -> int:
        begun = student.first_piece(candidate) if candidate and after in (b"", b" ") else None
        if begun is not None:
            return begun
        lengths = [length for length in range(1, len(candidate) + 1) if candidate[:length] in tokens.student]
        longest = student.id_of(candidate[: max(lengths)]) if lengths else None
        return tokens.rest if longest is None else longest

    for label in labels:
        surface, masses = tokens.student[label], dict.fromkeys(range(tokens.rest + 1), 0.0)
        row = max(n for n, start in enumerate(starts[:-1]) if start <= max(place, starts[0]))
        consumed = surfaces[row][: max(0, place - starts[row])]
        written, scale = b" " if place < starts[0] else b"", 1.0
        while True:
            row_tokens = [
                (token_id, token or b"") for token_id, token in enumerate(tokens.teacher)
                if (token or b"").startswith(consumed)
            ]  # fmt: skip
            scale /= sum(probs[row][token_id] for token_id, _ in row_tokens)
            for token_id, token in row_tokens:
                if token_id != own[row]:
                    rest = token[len(consumed) :]
                    student_id = become(written + rest, written) if written or consumed else int(tokens.whole[token_id])
                    masses[student_id] += scale * probs[row][token_id]
            scale *= probs[row][own[row]]
            written += surfaces[row][len(consumed) :]
            if surface is None or len(written) >= len(surface):
                break
            row, consumed = row + 1, b""
        masses[label] += scale
        found.append(masses)
        place += len(surface or b"")
    return found


def of_text(pair: OtherTokenizer, text: str, seed: int = 0) -> tuple[list[int], list[int], torch.Tensor]:
    """The text in the student's and the teacher's tokens, and random logits of the teacher."""
    labels, own = (one.encode_targets([text])[0] for one in (pair.student, pair.teacher))
    generator = torch.Generator().manual_seed(seed)
    return labels, own, 3 * torch.randn(len(own), len(pair.teacher.tokenizer), generator=generator)


def positions_of(pair: OtherTokenizer, labels: list[int], own: list[int]) -> list[StudentPosition]:
    """The positions of one text that is learned."""
    readings = pair.readings(np.array(labels, np.int32), np.array(own, np.int32))
    return [StudentPosition(*of_token, 0, is_target=True) for of_token in zip(labels, readings, strict=True)]


@PAIRS
def test_masses_are_those_of_a_loop_over_all_continuations(teacher: Make, student: Make) -> None:
    """Numbers, CJK and emoji; all mass is somewhere, and every position of these texts has a distribution."""
    pair = OtherTokenizer(reads(teacher()), reads(student()))
    for number, text in enumerate(TEXTS[:3]):
        labels, own, logits_NV = of_text(pair, text, seed=number)
        positions = positions_of(pair, labels, own)
        mass_PS = student_mass(logits_NV, np.array(own), positions, pair.tokens)
        expected = naive(logits_NV.double().softmax(-1).tolist(), own, labels, pair)

        assert "text" not in {position.reading.kind for position in positions}
        torch.testing.assert_close(mass_PS.sum(dim=1), torch.ones(len(labels)), atol=1e-5, rtol=0)
        expected_PS = torch.tensor([[row[n] for n in range(pair.tokens.rest + 1)] for row in expected])
        torch.testing.assert_close(mass_PS, expected_PS, atol=1e-5, rtol=1e-4)


@PAIRS
def test_a_certain_teacher_gives_the_text_itself(teacher: Make, student: Make) -> None:
    """If the teacher's own tokens have all probability, so have the student's, wherever these begin."""
    pair = OtherTokenizer(reads(teacher()), reads(student()))
    for text in TEXTS:
        labels, own, logits_NV = of_text(pair, text)
        logits_NV[torch.arange(len(own)), own] = 100.0
        mass_PS = student_mass(logits_NV, np.array(own), positions_of(pair, labels, own), pair.tokens)

        torch.testing.assert_close(mass_PS[torch.arange(len(labels)), labels], torch.ones(len(labels)))


@pytest.mark.parametrize(("is_target", "expected"), [(True, [1.0, 0.0]), (False, [0.0, 1.0])])
def test_an_unknown_distribution_is_the_label_or_nothing(*, is_target: bool, expected: list[float]) -> None:
    """A text that is learned is learned by its label; a student sample has no gradient there, in any divergence."""
    tokens = BytePrefixMap([b"a", b"b"], [b"a", b"b", b"ab"], {})
    positions = [StudentPosition(1, TokenReading("text"), 0, is_target)]
    mass_PS = student_mass(torch.zeros(1, 2), np.array([0]), positions, tokens)
    assert mass_PS[0, [1, 3]].tolist() == expected

    mass_PK, ids_PK = mass_PS[:, :3].topk(2)
    student_PV = torch.randn(1, 3, requires_grad=True)
    for objective in (forward_kl, reverse_kl):
        loss = objective(*bucketed(student_PV, ids_PK, mass_PK.log()))
        (gradient_PV,) = torch.autograd.grad(loss, student_PV)
        assert bool(gradient_PV.abs().sum() > 1e-3) is is_target


@pytest.mark.parametrize(("is_target", "expected"), [(True, [0.0, 1.0, 0.0]), (False, [0.0, 0.0, 1.0])])
def test_bytes_that_the_teacher_holds_for_impossible_have_no_distribution(
    *, is_target: bool, expected: list[float]
) -> None:
    """None of its tokens that begin with them has a probability above 0 in float32."""
    tokens = BytePrefixMap([b"ab", b"ac", b"x"], [b"a", b"b"], {})
    logits_NV = torch.tensor([[-500.0, -500.0, 500.0]])
    position = StudentPosition(1, TokenReading("inside", 0, 0, 1), 0, is_target)

    assert student_mass(logits_NV, np.array([0]), [position], tokens).tolist() == [expected]


def scored(
    teacher: TaskTokenizer, student: TaskTokenizer, texts: list[str], *, generator: str = "teacher", other: bool = True
) -> tuple[TokenArrays, TeacherLogprobs]:
    """The texts in the student's tokens, and all log-probabilities of a random teacher, in single precision."""
    network = build_network(small("gpt2"), teacher.tokenizer, max_positions=160, seed=1)
    rows = TokenArrays.of(student.encode_targets(texts))
    sources = TokenArrays.of(teacher.encode_targets(["a source", "another"]))
    items = [TrainItem(row % 2, generator, (row,)) for row in range(len(texts))]  # type: ignore[arg-type]
    scorer = TeacherLogprobScorer(
        TargetLogits(network, len(teacher.tokenizer), "float32"),
        sources,
        len(student.tokenizer),
        teacher.pad_id,
        other=OtherTokenizer(teacher, student) if other else None,
    )
    shape = len(rows.flat), len(student.tokenizer)
    into = TeacherLogprobs(np.zeros(shape, np.int32), np.zeros(shape, np.float32))
    return rows, scorer.logprobs(items, rows, into)


@pytest.mark.parametrize("make", [words, byte_level, fallback])
def test_equal_tokenizers_give_the_exact_loss(make: Make) -> None:
    """The loss of the log-probabilities that are read without a map, and every position is exact."""
    rows, mapped = scored(reads(make()), reads(make()), TEXTS)
    _, plain = scored(reads(make()), reads(make()), TEXTS, other=False)
    student_PV = torch.randn(len(rows.flat), len(make()))
    losses = [
        forward_kl(*bucketed(student_PV, torch.from_numpy(own.ids_PK).long(), torch.from_numpy(own.logp_PK)))
        for own in (mapped, plain)
    ]

    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    assert np.abs(np.exp(mapped.logp_PK).sum(axis=1) - 1).max() < 1e-5


def test_batches_do_not_change_what_is_scored() -> None:
    """Texts of different lengths in one batch have the distributions that each has alone."""
    teacher, student = reads(words()), reads(byte_level())
    rows, together = scored(teacher, student, TEXTS)
    for number in (0, 2, 4):
        _, alone = scored(teacher, student, [TEXTS[number]])
        own_P = rows.positions([number])
        np.testing.assert_allclose(np.exp(alone.logp_PK), np.exp(together.logp_PK[own_P]), atol=1e-5)


@pytest.mark.parametrize("make", [byte_words, fallback])
def test_a_trimmed_student_learns_from_an_untrimmed_teacher(make: Make, tmp_path: Path) -> None:
    """A kept token has at least the teacher's probability of it: those that begin with it may be added."""
    tokenizer, kept = trimmed(make(), 0.5, tmp_path)
    pair = OtherTokenizer(reads(make()), reads(tokenizer))
    assert pair.tokens.whole[kept].tolist() == list(range(len(kept)))
    assert len(kept) < len(make())
    for text in TEXTS:
        labels, own, logits_NV = of_text(pair, text)
        positions = positions_of(pair, labels, own)
        mass_PS, probs_NV = student_mass(logits_NV, np.array(own), positions, pair.tokens), logits_NV.softmax(-1)
        for place, position in enumerate(positions):
            if position.reading.kind == "exact":
                assert (mass_PS[place, : len(kept)] >= probs_NV[position.reading.first, kept] - 1e-6).all()
    assert "exact" in {position.reading.kind for position in positions}


def test_a_text_longer_than_the_teacher_can_read_is_read_as_far_as_it_can() -> None:
    """The rest has its labels, and that of a student sample, which is no target, has nothing."""
    limited = reads(letters(), positions=18)
    rows, own = scored(limited, reads(words()), TEXTS[:1])
    _, sampled = scored(limited, reads(words()), TEXTS[:1], generator="student")
    labels = own.ids_PK[:, 0] == rows.flat
    certain = own.logp_PK[:, 0] == 0

    assert 0 < certain.sum() < len(certain)
    assert labels[certain].all()
    assert not certain[: (~certain).sum()].any()
    assert np.isneginf(sampled.logp_PK[certain]).all()
    assert (sampled.logp_PK[~certain] == own.logp_PK[~certain]).all()
