"""Alignment compared with independent computations: enumeration of all continuations, and equal tokenizers."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.api_teacher.longest_match import LongestMatch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from understudy.api_teacher.logprob_alignment import AlignedLogprobs, Position, align_logprobs
from understudy.models.token_bytes import TokenBytes
from understudy.models.tokenizers import train_tokenizer
from understudy.objectives import OBJECTIVES
from understudy.objectives.sparse import bucketed

LETTERS = "abc"
LONGEST = 3
TEXTS = ["The Eagle, in São Paulo, costs £20-25 (m²).", "The Mill is near the Eagle", "café, naïve 🙂 世界"]
Floats = NDArray[np.float64]


class Language:
    """A language of three letters; each letter's distribution depends on the two before it."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.table = {a + b: self.draw.dirichlet([1.0] * 3) for a, b in itertools.product(LETTERS + ".", repeat=2)}

    def next(self, before: str) -> dict[str, float]:
        """Letter -> its probability after a text."""
        return dict(zip(LETTERS, self.table[(".." + before)[-2:]].tolist(), strict=True))

    def of(self, more: str, before: str) -> float:
        """The probability of some letters after a text."""
        return math.prod(self.next(before + more[:place])[letter] for place, letter in enumerate(more))

    def text(self, length: int) -> str:
        """A random text."""
        text = ""
        while len(text) < length:
            text += str(self.draw.choice(list(LETTERS), p=list(self.next(text).values())))
        return text

    def first_tokens(self, tokens: LongestMatch, before: str) -> dict[int, float]:
        """Student token -> its probability after a text: all continuations are tokenized one by one."""
        aligned: dict[int, float] = {}
        for letters in itertools.product(LETTERS, repeat=LONGEST):
            more = "".join(letters)
            token_id = tokens.first_piece(more.encode())
            assert token_id is not None
            aligned[token_id] = aligned.get(token_id, 0.0) + self.of(more, before)
        return aligned

    def positions(self, text: str, *, size: int) -> list[Position]:
        """A teacher whose tokens are `size` letters, with all alternatives listed."""
        names = ["".join(letters) for letters in itertools.product(LETTERS, repeat=size)]
        positions = []
        for place in range(0, len(text), size):
            logps = {name: math.log(self.of(name, text[:place])) for name in names}
            top = tuple((name.encode(), logp) for name, logp in logps.items())
            positions.append(Position(text[place : place + size].encode(), logps[text[place : place + size]], top))
        return positions


def tokenized(tokens: LongestMatch, text: str) -> tuple[str, list[int]]:
    """The part of a text whose tokens no continuation can change, and its tokens."""
    ids: list[int] = []
    done = 0
    while len(text) - done >= LONGEST:
        token_id = tokens.first_piece(text[done:].encode())
        assert token_id is not None
        ids.append(token_id)
        done += len(tokens.of(token_id) or b"")
    return text[:done], ids


def rows(
    aligned: AlignedLogprobs, text: str, ids: Sequence[int], tokens: LongestMatch
) -> list[tuple[str, str, dict[int, float]]]:
    """The kind of each row, the text before it, and id -> probability."""
    begins = np.cumsum([0, *(len(tokens.of(token_id) or b"") for token_id in ids)])
    tables = [
        {token_id: math.exp(logp) for token_id, logp in zip(*row, strict=True) if logp > -math.inf}
        for row in zip(aligned.ids_TK.tolist(), aligned.logp_TK.tolist(), strict=True)
    ]
    return [(kind, text[:begin], table) for kind, begin, table in zip(aligned.kinds, begins, tables, strict=False)]


@pytest.mark.parametrize("seed", range(5))
def test_alignment_to_a_prefix_free_vocabulary_is_exact(seed: int) -> None:
    """Every probability in a row, and the rest, equals the sum over all continuations."""
    language, tokens = Language(seed), LongestMatch(b"aa", b"ab", b"ac", b"b", b"ca", b"cb", b"cca", b"ccb", b"ccc")
    text, ids = tokenized(tokens, language.text(60))
    aligned = align_logprobs(
        language.positions(text, size=1), ids, tokens, text=text.encode(), start=0, kept=len(tokens)
    )

    assert set(aligned.kinds) == {"exact", "merged"}
    for token_id, (kind, before, table) in zip(ids, rows(aligned, text, ids, tokens), strict=True):
        expected = language.first_tokens(tokens, before)
        assert kind == ("exact" if tokens.of(token_id) == b"b" else "merged")
        assert table == pytest.approx({other: expected[other] for other in table}, rel=1e-5)
        assert token_id in table
        assert len(table) >= {b"b": 1, b"a": 4, b"c": 3}[(tokens.of(token_id) or b"")[:1]]


@pytest.mark.parametrize("seed", range(5))
def test_the_continuation_of_an_alternative_is_unknown(seed: int) -> None:
    """A merged row is exact; in others the probability of 'ab' is counted for 'a', whose continuation is unknown."""
    language, tokens = Language(seed), LongestMatch(b"a", b"b", b"c", b"ab")
    text, ids = tokenized(tokens, language.text(60))
    aligned = align_logprobs(
        language.positions(text, size=1), ids, tokens, text=text.encode(), start=0, kept=len(tokens)
    )

    assert set(aligned.kinds) == {"exact", "merged"}
    for kind, before, table in rows(aligned, text, ids, tokens):
        expected = language.first_tokens(tokens, before)
        if kind == "exact":
            expected[1] += expected.pop(4)
        assert table == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_first_student_token_of_a_longer_teacher_token_is_exact(seed: int) -> None:
    """Teacher tokens of two letters, student tokens of one: every second row is exact, the others are labels."""
    language, tokens = Language(seed), LongestMatch(b"a", b"b", b"c")
    text = language.text(40)
    ids = [1 + LETTERS.index(letter) for letter in text]
    aligned = align_logprobs(language.positions(text, size=2), ids, tokens, text=text.encode(), start=0, kept=3)

    assert aligned.kinds == ("merged", "text") * 20
    for kind, before, table in rows(aligned, text, ids, tokens):
        if kind == "merged":
            assert table == pytest.approx(language.first_tokens(tokens, before), rel=1e-5)


def byte_level() -> PreTrainedTokenizerBase:
    """A byte-level tokenizer like GPT-2's, trained on the sentences."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXTS * 3,
        trainers.BpeTrainer(vocab_size=300, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")  # noqa: S106 - not a secret


def own() -> PreTrainedTokenizerBase:
    """A tokenizer as the package trains it."""
    return train_tokenizer(TEXTS * 3, vocab_size=150)


def reported_positions(token_bytes: TokenBytes, ids: Sequence[int], logp_TV: Floats, top: int) -> list[Position]:
    """A teacher with the student's tokens, which reports the most probable ones."""
    positions = []
    for token_id, logp_V in zip(ids, logp_TV, strict=True):
        best = np.argsort(-logp_V)[:top].tolist()
        names = tuple((token_bytes.of(other) or b"", float(logp_V[other])) for other in best)
        positions.append(Position(token_bytes.of(token_id) or b"", float(logp_V[token_id]), names))
    return positions


def teacher_of(token_bytes: TokenBytes, ids: Sequence[int], draw: np.random.Generator) -> Floats:
    """Log-probabilities that favor the text; the first token is a word with its space, as in real responses."""
    logits_TV = 2 * draw.normal(size=(len(ids), len(token_bytes)))
    logits_TV[np.arange(len(ids)), list(ids)] += 3
    for token_id in range(len(token_bytes)):
        surface = token_bytes.of(token_id) or b" "
        if (token_bytes.of(ids[0]) or b"").startswith(b" ") and (surface[:1] != b" " or not surface.strip()):
            logits_TV[0, token_id] -= 1000
    total_T1 = np.log(np.exp(logits_TV).sum(axis=1, keepdims=True))
    return np.asarray(logits_TV - total_T1, np.float64)


def naive(name: str, p_V: Floats, q_V: Floats, kept: Sequence[int]) -> float:
    """A divergence of the kept tokens and the rest, from probabilities in float64."""
    rest = [token_id for token_id in range(len(p_V)) if token_id not in kept]
    p, q = (np.array([*side[list(kept)], side[rest].sum()]) for side in (p_V, q_V))
    m = (p + q) / 2
    both: dict[str, Callable[[], float]] = {
        "forward_kl": lambda: float((p * np.log(p / q)).sum()),
        "jsd": lambda: float((p * np.log(p / m) + q * np.log(q / m)).sum() / 2),
        "tvd": lambda: float(np.abs(p - q).sum() / 2),
    }
    return both[name]()


@pytest.mark.parametrize("name", ["forward_kl", "jsd", "tvd"])
@pytest.mark.parametrize("make", [byte_level, own])
def test_equal_tokenizers_give_the_divergence_of_the_reported_tokens(
    make: Callable[[], PreTrainedTokenizerBase], name: str
) -> None:
    """At every token but the end, which is not reported; the target may not be among the most probable."""
    tokenizer, draw, top = make(), np.random.default_rng(0), 8
    token_bytes = TokenBytes(tokenizer)
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        logp_TV = teacher_of(token_bytes, ids, draw)
        positions = reported_positions(token_bytes, ids, logp_TV, top)
        start = len(b"".join(position.token for position in positions)) - len(text.encode())
        aligned = align_logprobs(
            positions, [*ids, tokenizer.eos_token_id], token_bytes, text=text.encode(), start=start, kept=top + 1
        )
        assert aligned.kinds == ("exact",) * len(ids) + ("text",)
        logits_TV = draw.normal(size=logp_TV.shape)
        for row, token_id in enumerate(ids):
            best = set(np.argsort(-logp_TV[row])[:top].tolist()) | {token_id}
            reported = sorted(other for other in best if token_bytes.of(other) is not None)
            pair = bucketed(
                torch.from_numpy(logits_TV[row : row + 1]),
                torch.from_numpy(aligned.ids_TK[row : row + 1]).long(),
                torch.from_numpy(aligned.logp_TK[row : row + 1]),
            )
            q_V = np.exp(logits_TV[row]) / np.exp(logits_TV[row]).sum()
            expected = naive(name, np.exp(logp_TV[row]), q_V, reported)
            assert OBJECTIVES[name].function(*pair).item() == pytest.approx(expected, abs=1e-5)
