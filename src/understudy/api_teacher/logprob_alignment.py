"""What an endpoint said of its own tokens, told of the student's: both write the same bytes.

An endpoint's tokenizer is not known; its tokens are bytes, and at each it names a few others with their probability.
Where one of its tokens begins, so does a distribution over what is written from there on, and the student's token that
begins there is compared with that. Knows bytes and numbers; no tokenizer, no network, no server.
Axes: T student tokens of a target, K kept tokens, the most probable first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from understudy.errors import ConfigError

How = Literal["exact", "merged", "text"]
Row = tuple[list[int], list[float], How]


class Pieces(Protocol):
    """The bytes of the student's tokens; models/token_bytes.py has them of a tokenizer."""

    def __len__(self) -> int:
        """How many ids there are."""

    def of(self, token_id: int) -> bytes | None:
        """The bytes of an id; None for a special token."""

    def id_of(self, surface: bytes) -> int | None:
        """The id that stands for exactly these bytes."""

    def first_piece(self, surface: bytes) -> int | None:
        """The first id of these bytes within a text."""


@dataclass(frozen=True, slots=True)
class Position:
    """One token as the endpoint wrote it."""

    token: bytes
    """Empty where it is no text, such as a token that ends the answer."""
    logprob: float
    """In nats; a server that does not tell it writes -9999."""
    top: tuple[tuple[bytes, float], ...]
    """The most probable tokens here, with log-probabilities; may or may not include `token`."""


@dataclass(frozen=True, eq=False)
class Aligned:
    """The kept tokens of each of a target's T student tokens."""

    ids_TK: NDArray[np.int32]
    """Each once in its row."""
    logp_TK: NDArray[np.float32]
    """In nats; minus infinity, behind the others, where a row keeps fewer than K or a probability is not told."""
    how: tuple[How, ...]
    """Exact: the endpoint's token is the student's. Merged: it begins there, and ends elsewhere. Text: neither."""


class _Step(NamedTuple):
    """A token of the endpoint that begins with the target or later."""

    begin: int
    """In bytes from the target's beginning as the student writes it."""
    token: bytes
    logp: float
    others: tuple[tuple[bytes, float], ...]


def aligned(
    positions: Sequence[Position], target_ids: Sequence[int], token_bytes: Pieces, *, text: bytes, start: int, kept: int
) -> Aligned:
    """The endpoint's distributions at the student's tokens of a target.

        p(id) = Σ p(c) over the candidates c whose first student token is id;  p(c) = Π p(piece of c | pieces before it)

    The candidates at a student token are what the endpoint might have written from where it begins: the tokens named
    there; where the endpoint's own token is only the beginning of the student's, that token with each of those named
    behind it, and so on; and what was written. They exclude each other. What is not kept, or maps to no student token,
    is left to 1 - Σ, the rest of `bucketed` in objectives/sparse.py. The sum is exact where the bytes of each candidate
    decide its first student token. What would follow one that was not written nobody told: it is read as if it ended.

    A student token that begins within a token of the endpoint, or stands for no text, is its label alone: probability
    1. So are all of them where the bytes do not fit: a text that a tokenizer normalises, or an unknown character.

    Args:
        positions: the endpoint's whole answer, in order.
        target_ids: T ids of `text` as the student is taught it, special tokens included.
        token_bytes: the bytes of the student's ids.
        text: the target in UTF-8.
        start: where `text` begins within the concatenated tokens, in bytes. White space before it in the token that
            holds it is left out of that token and of those named beside it.
        kept: K. The id of the target is always in its row, as an absent entry where its probability is not told
            (or below float64): then it belongs to the rest.

    Returns:
        T rows; each adds up to at most 1, and is scaled to 1 where roundings of the endpoint make it more.

    Raises:
        ConfigError: if `kept` is not between 1 and the number of the student's tokens.

    Source: compare Minixhofer et al. 2025 (arXiv:2503.20083), who compare what was written between bytes where tokens
        of both end; here also what was not written takes part.
    """
    if not 1 <= kept <= len(token_bytes):
        raise ConfigError(
            f"{kept} tokens were to be kept at each position, of a student that has {len(token_bytes)}; keep "
            f"at least 1, "
            "and no more than there are"
        )
    rows = _rows(positions, target_ids, token_bytes, text, start)
    ids_TK = np.empty((len(rows), kept), np.int32)
    logp_TK = np.full((len(rows), kept), -np.inf, np.float32)
    for row, (target, (ids, logps, _)) in enumerate(zip(target_ids, rows, strict=True)):
        best = sorted(zip(ids, logps, strict=True), key=lambda pair: -pair[1])
        chosen = best[:kept]
        if target not in dict(chosen):
            chosen[-1] = target, dict(best)[target]
        taken = dict(chosen)
        fillers = (token_id for token_id in range(len(token_bytes)) if token_id not in taken)
        ids_TK[row] = [*taken, *(next(fillers) for _ in range(kept - len(taken)))]
        logp_TK[row, : len(taken)] = list(taken.values())
    return Aligned(ids_TK, logp_TK, tuple(how for *_, how in rows))


def _rows(
    positions: Sequence[Position], target_ids: Sequence[int], token_bytes: Pieces, text: bytes, start: int
) -> list[Row]:
    """Ids, log-probabilities and kind of each student token, in no order."""
    own = [token_bytes.of(token_id) or b"" for token_id in target_ids]
    written = b"".join(position.token for position in positions)
    lead = b" " if b"".join(own) == b" " + text else b""  # the space that some tokenizers put before a text
    fits = b"".join(own) == lead + text and written[start : start + len(text)] == text
    steps = _steps(positions, start, lead) if fits else []
    places, rows, begin = {step.begin: place for place, step in enumerate(steps)}, list[Row](), 0
    for token_id, surface in zip(target_ids, own, strict=True):
        if surface and begin in places:
            rows.append(_row(steps[places[begin] :], token_id, surface, token_bytes))
        else:
            rows.append(([token_id], [0.0], "text"))
        begin += len(surface)
    return rows


def _steps(positions: Sequence[Position], start: int, lead: bytes) -> list[_Step]:
    """The endpoint's tokens from the text's beginning on; also the one that holds it behind white space."""
    steps, end = list[_Step](), 0
    for position in positions:
        begin, end = end, end + len(position.token)
        if end <= start:
            continue
        # The token itself is told by its own log-probability, wherever it stands among the others.
        others = tuple((other, logp) for other, logp in position.top if other != position.token)
        if begin > start:
            steps.append(_Step(len(lead) + begin - start, position.token, position.logprob, others))
        elif begin == start or _is_space(position.token[: start - begin]):
            if begin < start:
                others = tuple((_unspaced(other), logp) for other, logp in others)
            led = tuple((lead + other, logp) for other, logp in others if other)
            steps.append(_Step(0, lead + position.token[start - begin :], position.logprob, led))
    return steps


def _row(steps: Sequence[_Step], target: int, surface: bytes, token_bytes: Pieces) -> Row:
    """The student token that begins where the first step does."""
    candidates, written, logp = list[tuple[bytes, float]](), b"", 0.0
    for step in steps:
        candidates += [(written + other, math.exp(logp + other_logp)) for other, other_logp in step.others if other]
        written, logp = written + step.token, logp + step.logp
        if len(written) >= len(surface):
            break
    masses = {target: math.exp(logp)}
    total = max(1.0, masses[target] + sum(mass for _, mass in candidates))
    for candidate, mass in candidates:
        # Where two ids share their bytes, the target's is meant.
        token_id = target if candidate in {written, surface} else _first_id(candidate, token_bytes)
        if token_id is not None:
            masses[token_id] = masses.get(token_id, 0.0) + mass
    logps = [math.log(mass / total) if mass else -math.inf for mass in masses.values()]
    return list(masses), logps, "exact" if steps[0].token == surface else "merged"


def _first_id(candidate: bytes, token_bytes: Pieces) -> int | None:
    whole = token_bytes.id_of(candidate)
    return token_bytes.first_piece(candidate) if whole is None else whole


def _is_space(token: bytes) -> bool:
    return token.decode(errors="replace").isspace()


def _unspaced(token: bytes) -> bytes:
    # Half characters come back as they were.
    return token.decode(errors="surrogateescape").lstrip().encode(errors="surrogateescape")
