"""Which texts of one input are kept: pure functions from candidates to places.

Knows texts, log-probabilities and gold; no files, no models. Of texts that are equal only the first is ever kept.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from types import MappingProxyType
from typing import TypeVar

from understudy.errors import PoolError
from understudy.records import PseudoTarget

ORDERS = 6
BETA = 2

Grams = tuple[Counter[str], ...]
"""Character n-grams of a text with their counts, orders 1 to 6."""

Rank = TypeVar("Rank", float, tuple[int, float])


@dataclass(frozen=True)
class Candidates:
    """The texts of one input, and its gold if it has any."""

    targets: Sequence[PseudoTarget]
    gold: Sequence[str] = ()

    @cached_property
    def copies(self) -> Counter[str]:
        """Text -> how many candidates are this very text, in the order of their first places."""
        return Counter(target.text for target in self.targets)

    @cached_property
    def first_places(self) -> list[int]:
        """The first place of each different text, ascending."""
        first: dict[str, int] = {}
        for place, target in enumerate(self.targets):
            first.setdefault(target.text, place)
        return list(first.values())

    def logprob_per_token(self, place: int) -> float:
        """In nats; -inf where the engine could not tell."""
        target = self.targets[place]
        known = target.token_ids and isfinite(target.logprob)
        return target.logprob / len(target.token_ids) if known else float("-inf")


def distinct(candidates: Candidates) -> list[int]:
    """Each text once, at its first place."""
    return candidates.first_places


def closest_to_gold(candidates: Candidates) -> list[int]:
    """The text with the highest chrF to the gold it is nearest to; without gold the most probable.

    Raises:
        PoolError: if there is neither gold nor a known log-probability.

    Source: Kim & Rush 2016, section 3.3 (arXiv:1606.07947), with chrF as the similarity.
    """
    if not candidates.gold:
        return most_probable(candidates)
    gold = [char_ngrams(text) for text in candidates.gold]

    def likeness(place: int) -> float:
        own = char_ngrams(candidates.targets[place].text)
        return max(chrf(own, reference) for reference in gold)

    return _best(candidates.first_places, likeness, 1)


def mbr(candidates: Candidates, *, n: int = 1) -> list[int]:
    """The n different texts with the highest mean chrF against the input's other texts.

        utility(i) = mean over j != i of chrF(text i, text j)

    A text drawn c times counts c times for the others, and c - 1 times for itself.

    Source: arXiv:2407.10456 (MBR-n); the utility is Popovic 2015 (W15-3049).
    """
    grams = {text: char_ngrams(text) for text in candidates.copies}

    def utility(place: int) -> float:
        own = candidates.targets[place].text
        others = ((text, count - (text == own)) for text, count in candidates.copies.items())
        return sum(count * chrf(grams[own], grams[text]) for text, count in others if count)

    return _best(candidates.first_places, utility, n)  # all have as many others: the sum ranks as the mean does


def most_probable(candidates: Candidates, *, n: int = 1) -> list[int]:
    """The n different texts with the highest log-probability per token, in nats.

    Raises:
        PoolError: if no text has a known log-probability.
    """
    if not any(candidates.logprob_per_token(place) > float("-inf") for place in candidates.first_places):
        raise PoolError(
            f"the most probable text of input {candidates.targets[0].input_id!r} was asked for, but none of its "
            f"{len(candidates.targets)} texts has a known log-probability; use keep kind distinct, mbr or agreement"
        )
    return _best(candidates.first_places, candidates.logprob_per_token, n)


def agreement(candidates: Candidates, *, n: int = 1) -> list[int]:
    """The n different texts drawn most often; of equals the more probable per token, then the earlier."""

    def votes(place: int) -> tuple[int, float]:
        return candidates.copies[candidates.targets[place].text], candidates.logprob_per_token(place)

    return _best(candidates.first_places, votes, n)


SELECTIONS: Mapping[str, Callable[..., list[int]]] = MappingProxyType(
    {
        "distinct": distinct,
        "closest_to_gold": closest_to_gold,
        "mbr": mbr,
        "most_probable": most_probable,
        "agreement": agreement,
    }
)
"""Kind -> (candidates, *, its settings) -> kept places, ascending. Kind `all` needs no function."""


def char_ngrams(text: str) -> Grams:
    """The character n-grams of a text without its white space."""
    dense = "".join(text.split())
    return tuple(
        Counter(dense[start : start + order] for start in range(len(dense) - order + 1))
        for order in range(1, ORDERS + 1)
    )


def chrf(grams: Grams, reference: Grams) -> float:
    """Sentence chrF of a text against a reference, 0..100.

        chrF = 100 * (1 + beta^2) * P * R / (beta^2 * P + R), beta = 2

    P and R are precision and recall, averaged over the orders for which both texts are long enough.

    Source: Popovic 2015 (W15-3049); as sacrebleu with word_order 0.
    """
    precision = recall = 0.0
    orders = 0
    for own, other in zip(grams, reference, strict=True):
        if not own or not other:
            break  # a text too short for one order is too short for all above
        both = own.keys() & other.keys()
        shared = sum(map(min, map(own.__getitem__, both), map(other.__getitem__, both)))
        precision += shared / own.total()
        recall += shared / other.total()
        orders += 1
    if not precision:
        return 0.0
    return 100 * (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall) / orders


def _best(places: Sequence[int], rank: Callable[[int], Rank], n: int) -> list[int]:
    """The n places of the highest rank, ascending; of equals the earlier."""
    return sorted(sorted(places, key=rank, reverse=True)[:n])
