"""Frozen records that several packages exchange.

They hold facts and no behaviour; settings live in `config`, tensors in the packages that compute with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

TextGenerator = Literal["gold", "teacher", "student", "api"]
"""Where a target text comes from: a human (gold), a local model (teacher or student) or an endpoint (api)."""


LeftOutReason = Literal["source", "student_positions", "teacher_positions"]
"""Why a target text is not learned, or not completely: its input is over the student's limits; the text needs more
positions than the student has, in its tokens; or more than the teacher has, in the teacher's."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many of the target texts from one place are not learned, or not completely, because of a length."""

    generator: TextGenerator
    reason: LeftOutReason
    count: int
    of: int
    """All such texts."""


@dataclass(frozen=True, slots=True)
class Example:
    """One source with its targets: none for an unlabeled input, several where there are several references."""

    id: str
    source: str
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskData:
    """The splits of a task. Within a split every source occurs once."""

    labeled: Sequence[Example]
    unlabeled: Sequence[Example]
    dev: Sequence[Example]
    test: Sequence[Example]
    withheld: Sequence[Example] = ()
    """The unlabeled inputs whose labels exist but are hidden from the student; a teacher may be trained on them."""


@dataclass(frozen=True, slots=True)
class Generated:
    """One generated text as token ids.

    `token_ids` hold no start token; they end with the end-of-sequence id if and only if the model
    finished before the length limit. `logprob` is the sum over these tokens in nats, under the model at
    temperature 1 before any truncation of its distribution; nan where the engine does not report it.
    """

    token_ids: tuple[int, ...]
    logprob: float


@dataclass(frozen=True, slots=True)
class PseudoTarget:
    """A generated text used as a target, with its origin."""

    input_id: str
    generator: TextGenerator
    round: int
    sample: int
    """Index of the text among those of its input, from 0."""
    token_ids: tuple[int, ...]
    text: str
    logprob: float
    copies: int = 1
    """Number of samples of the input that were equal to this text."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The text a system generated for one input of an evaluated split."""

    id: str
    source: str
    references: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value with its bootstrap interval and the signature that makes it comparable."""

    metric: str
    value: float
    low: float
    high: float
    signature: str
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Size, speed and memory of a model on this machine."""

    parameters: int
    disk_bytes: int
    latency_p50_ms: float
    latency_p95_ms: float
    throughput_per_s: float
    """Outputs per second at the batch size named in `how`."""
    peak_memory_bytes: int
    """Memory that loading the model and generating with it added to the process."""
    how: str
    """Engine, device, threads, batch size and decoding: the conditions of the measurement."""
