"""Aligns an API teacher's token log-probabilities to the student's tokens, which spell the same bytes.

The teacher's tokenizer is unknown. Its tokens are bytes, and each comes with the probabilities of a few alternatives.
Where one of its tokens begins, these form a distribution over the continuations of the text, and the student token that
begins there is trained on that distribution. This module handles bytes and numbers. It does not depend on tokenizers,
models or servers.
Axes: T student tokens of a target, K kept tokens, the most probable first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from understudy.errors import ConfigError

AlignmentKind = Literal["exact", "merged", "text"]
"""Exact: the teacher's token is the student's. Merged: it begins there and ends elsewhere. Text: neither, the label
alone."""
Row = tuple[list[int], list[float], AlignmentKind]
"""Token ids, their log-probabilities, and the kind, of one student token."""


class StudentTokens(Protocol):
    """The bytes of the student's tokens; `models.token_bytes` implements it for a tokenizer."""

    def __len__(self) -> int:
        """The number of token ids."""

    def of(self, token_id: int) -> bytes | None:
        """The bytes of an id; None for a special token."""

    def id_of(self, surface: bytes) -> int | None:
        """The id of the token with exactly these bytes."""

    def first_piece(self, surface: bytes) -> int | None:
        """The first token id when these bytes are tokenized within a text."""


@dataclass(frozen=True, slots=True)
class Position:
    """One token of the teacher."""

    token: bytes
    """Empty for a token without text, such as the end of the response."""
    logprob: float
    """In nats; servers write -9999 for a log-probability that they do not report."""
    top: tuple[tuple[bytes, float], ...]
    """The most probable tokens here, with log-probabilities; may or may not include `token`."""


@dataclass(frozen=True, eq=False)
class AlignedLogprobs:
    """The kept tokens at each of a target's T student tokens."""

    ids_TK: NDArray[np.int32]
    """Each id occurs once in its row."""
    logp_TK: NDArray[np.float32]
    """In nats; minus infinity, after the others, where a row keeps fewer than K or a probability is not reported."""
    kinds: tuple[AlignmentKind, ...]


class _TeacherToken(NamedTuple):
    """A token of the teacher that begins with the target or later."""

    begin: int
    """In bytes from the beginning of the target as the student spells it."""
    token: bytes
    logp: float
    others: tuple[tuple[bytes, float], ...]


def align_logprobs(
    positions: Sequence[Position],
    target_ids: Sequence[int],
    token_bytes: StudentTokens,
    *,
    text: bytes,
    start: int,
    kept: int,
) -> AlignedLogprobs:
    """The teacher's distributions at the student's tokens of a target.

        p(id) = Σ p(c) over the candidates c whose first student token is id;  p(c) = Π p(piece of c | pieces before it)

    The candidates at a student token are the possible continuations from where it begins: the alternatives listed
    there; where the teacher's own token is only the beginning of the student's, that token followed by each of the
    alternatives listed after it, and so on; and the text itself. They exclude each other. The probability of a
    candidate that is not kept, or maps to no student token, is left to 1 - Σ, the rest of `bucketed` in
    objectives/sparse.py. The sum is exact where the bytes of each candidate decide its first student token. The
    continuation of an alternative is unknown: it is read as if it ended.

    A student token that begins within a token of the teacher, or has no text, gets its label alone: probability 1. So
    do all of them where the bytes do not match: a text that a tokenizer normalizes, or an unknown character.

    Args:
        positions: the teacher's whole response, in order.
        target_ids: T ids of `text` as the student is trained on it, special tokens included.
        token_bytes: the bytes of the student's ids.
        text: the target in UTF-8.
        start: where `text` begins within the concatenated tokens, in bytes. White space before it in the token that
            holds it is removed from that token and from its alternatives.
        kept: K. The id of the target is always in its row, as an absent entry where its probability is not reported
            (or below float64): then it belongs to the rest.

    Returns:
        T rows; each adds up to at most 1, and is scaled to 1 where the teacher's rounding makes it more.

    Raises:
        ConfigError: if `kept` is not between 1 and the number of the student's tokens.

    Source: compare Minixhofer et al. 2025 (arXiv:2503.20083), who compare the text between bytes where tokens of both
    end; here the alternatives take part as well.
    """
    if not 1 <= kept <= len(token_bytes):
        raise ConfigError(
            f"cannot keep {kept} tokens at each position of a student that has {len(token_bytes)} tokens; keep between "
            "1 and that many"
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
    return AlignedLogprobs(ids_TK, logp_TK, tuple(kind for *_, kind in rows))


def _rows(
    positions: Sequence[Position], target_ids: Sequence[int], token_bytes: StudentTokens, text: bytes, start: int
) -> list[Row]:
    """Ids, log-probabilities and kind of each student token, in no particular order."""
    own = [token_bytes.of(token_id) or b"" for token_id in target_ids]
    written = b"".join(position.token for position in positions)
    lead = b" " if b"".join(own) == b" " + text else b""  # the space that some tokenizers prepend to a text
    fits = b"".join(own) == lead + text and written[start : start + len(text)] == text
    tokens = _teacher_tokens(positions, start, lead) if fits else []
    places = {token.begin: place for place, token in enumerate(tokens)}
    rows, begin = list[Row](), 0
    for token_id, surface in zip(target_ids, own, strict=True):
        if surface and begin in places:
            rows.append(_row(tokens[places[begin] :], token_id, surface, token_bytes))
        else:
            rows.append(([token_id], [0.0], "text"))
        begin += len(surface)
    return rows


def _teacher_tokens(positions: Sequence[Position], start: int, lead: bytes) -> list[_TeacherToken]:
    """The teacher's tokens from the beginning of the text on; the first may hold white space before it."""
    tokens, end = list[_TeacherToken](), 0
    for position in positions:
        begin, end = end, end + len(position.token)
        if end <= start:
            continue
        # The token itself has its own log-probability; leave it out of the alternatives.
        others = tuple((other, logp) for other, logp in position.top if other != position.token)
        if begin > start:
            tokens.append(_TeacherToken(len(lead) + begin - start, position.token, position.logprob, others))
        elif begin == start or _is_space(position.token[: start - begin]):
            if begin < start:
                others = tuple((_unspaced(other), logp) for other, logp in others)
            led = tuple((lead + other, logp) for other, logp in others if other)
            tokens.append(_TeacherToken(0, lead + position.token[start - begin :], position.logprob, led))
    return tokens


def _row(tokens: Sequence[_TeacherToken], target: int, surface: bytes, token_bytes: StudentTokens) -> Row:
    """The row of the student token that begins where the first of the teacher's tokens does."""
    candidates, written, logp = list[tuple[bytes, float]](), b"", 0.0
    for token in tokens:
        candidates += [(written + other, math.exp(logp + other_logp)) for other, other_logp in token.others if other]
        written, logp = written + token.token, logp + token.logp
        if len(written) >= len(surface):
            break
    masses = {target: math.exp(logp)}
    total = max(1.0, masses[target] + sum(mass for _, mass in candidates))
    for candidate, mass in candidates:
        # Where two ids have the same bytes, use the target's.
        token_id = target if candidate in {written, surface} else _first_id(candidate, token_bytes)
        if token_id is not None:
            masses[token_id] = masses.get(token_id, 0.0) + mass
    logps = [math.log(mass / total) if mass else -math.inf for mass in masses.values()]
    return list(masses), logps, "exact" if tokens[0].token == surface else "merged"


def _first_id(candidate: bytes, token_bytes: StudentTokens) -> int | None:
    whole = token_bytes.id_of(candidate)
    return token_bytes.first_piece(candidate) if whole is None else whole


def _is_space(token: bytes) -> bool:
    return token.decode(errors="replace").isspace()


def _unspaced(token: bytes) -> bytes:
    # surrogateescape keeps the bytes of half characters.
    return token.decode(errors="surrogateescape").lstrip().encode(errors="surrogateescape")
