"""Selection of the pseudo-targets of one input: pure functions from candidates to indices.

This module handles texts, log-probabilities and gold targets; it does not depend on files or models. Of equal texts
only the first is ever selected.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from types import MappingProxyType
from typing import TypeVar

from sacrebleu.metrics import CHRF
from sacrebleu.metrics.helpers import extract_all_char_ngrams

from understudy.errors import PoolError
from understudy.records import PseudoTarget

CharNgrams = Sequence[Counter[str]]
"""Character n-grams of a text with their counts, orders 1 to 6."""

Rank = TypeVar("Rank", float, tuple[int, float])

_CHRF = CHRF()


@dataclass(frozen=True)
class Candidates:
    """The texts of one input, and its gold targets if it has any."""

    targets: Sequence[PseudoTarget]
    gold: Sequence[str] = ()

    @cached_property
    def copies(self) -> Counter[str]:
        """Text -> number of candidates with this text, in the order of their first occurrence."""
        return Counter(target.text for target in self.targets)

    @cached_property
    def first_indices(self) -> list[int]:
        """The index of the first occurrence of each distinct text, ascending."""
        first: dict[str, int] = {}
        for index, target in enumerate(self.targets):
            first.setdefault(target.text, index)
        return list(first.values())

    def logprob_per_token(self, index: int) -> float:
        """In nats; -inf where the engine does not report it."""
        target = self.targets[index]
        known = target.token_ids and isfinite(target.logprob)
        return target.logprob / len(target.token_ids) if known else float("-inf")


def distinct(candidates: Candidates) -> list[int]:
    """Each distinct text, at its first occurrence."""
    return candidates.first_indices


def closest_to_gold(candidates: Candidates) -> list[int]:
    """The text with the highest chrF to its nearest gold target; without gold the most probable text.

    Raises:
        PoolError: if there is neither gold nor a known log-probability.

    Source: Kim & Rush 2016, section 3.3 (arXiv:1606.07947), with chrF as the similarity.
    """
    if not candidates.gold:
        return most_probable(candidates)
    gold = [char_ngrams(text) for text in candidates.gold]

    def similarity(index: int) -> float:
        own = char_ngrams(candidates.targets[index].text)
        return max(sentence_chrf(own, reference) for reference in gold)

    return _top(candidates.first_indices, similarity, 1)


def mbr(candidates: Candidates, *, n: int = 1) -> list[int]:
    """The n distinct texts with the highest mean chrF against the input's other texts (minimum Bayes risk).

        utility(i) = mean over j != i of chrF(text i, text j)

    A text sampled c times counts c times for the others, and c - 1 times for itself.

    Source: arXiv:2407.10456 (MBR-n); the utility is Popovic 2015 (W15-3049).
    """
    ngrams = {text: char_ngrams(text) for text in candidates.copies}

    def utility(index: int) -> float:
        own = candidates.targets[index].text
        others = ((text, count - (text == own)) for text, count in candidates.copies.items())
        return sum(count * sentence_chrf(ngrams[own], ngrams[text]) for text, count in others if count)

    # Every text has the same number of others, so the sum ranks as the mean does.
    return _top(candidates.first_indices, utility, n)


def most_probable(candidates: Candidates, *, n: int = 1) -> list[int]:
    """The n distinct texts with the highest log-probability per token, in nats.

    Raises:
        PoolError: if no text has a known log-probability.
    """
    if not any(candidates.logprob_per_token(index) > float("-inf") for index in candidates.first_indices):
        raise PoolError(
            f"cannot select the most probable text of input {candidates.targets[0].input_id!r}: none of its "
            f"{len(candidates.targets)} texts has a known log-probability; select by kind distinct, mbr or agreement"
        )
    return _top(candidates.first_indices, candidates.logprob_per_token, n)


def agreement(candidates: Candidates, *, n: int = 1) -> list[int]:
    """The n distinct texts sampled most often (majority vote); ties: more probable per token first, then earlier."""

    def votes(index: int) -> tuple[int, float]:
        return candidates.copies[candidates.targets[index].text], candidates.logprob_per_token(index)

    return _top(candidates.first_indices, votes, n)


SELECTIONS: Mapping[str, Callable[..., list[int]]] = MappingProxyType(
    {
        "distinct": distinct,
        "closest_to_gold": closest_to_gold,
        "mbr": mbr,
        "most_probable": most_probable,
        "agreement": agreement,
    }
)
"""Kind -> (candidates, *, its settings) -> selected indices, ascending. Kind `all` needs no function."""


def char_ngrams(text: str) -> CharNgrams:
    """The character n-grams of a text without its white space, as sacrebleu extracts them."""
    ngrams: CharNgrams = extract_all_char_ngrams(text, _CHRF.char_order)
    return ngrams


def sentence_chrf(ngrams: CharNgrams, reference: CharNgrams) -> float:
    """Sentence chrF of a text against a reference, 0..100: sacrebleu's, with word_order 0.

    It takes n-grams instead of texts: sacrebleu's public functions extract them once per pair, which makes MBR of 48
    texts four times slower.

    Source: Popovic 2015 (W15-3049).
    """
    statistics: list[int] = []
    for own, other in zip(ngrams, reference, strict=True):
        statistics += _CHRF._get_match_statistics(own, other)  # noqa: SLF001 - sacrebleu has no public function for it
    return float(_CHRF._compute_f_score(statistics))  # noqa: SLF001


def _top(indices: Sequence[int], rank: Callable[[int], Rank], n: int) -> list[int]:
    """The n indices of the highest rank, ascending; ties: earlier first."""
    return sorted(sorted(indices, key=rank, reverse=True)[:n])
