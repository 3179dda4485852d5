"""The words everyone uses: frozen records that cross rooms.

They hold facts and no behaviour beyond a derived fact; no room's settings, no tensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

TextGenerator = Literal["gold", "teacher", "student", "api"]
"""Who wrote a target."""


@dataclass(frozen=True, slots=True)
class Example:
    """One source with its targets: none for an unlabelled input, several where there are several references."""

    id: str
    source: str
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskData:
    """The splits of a task. Within a split every source occurs once."""

    labeled: tuple[Example, ...]
    unlabeled: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    withheld: tuple[Example, ...] = ()
    """The unlabelled inputs whose labels exist but are hidden from the student; a teacher may see them."""


@dataclass(frozen=True, slots=True)
class Generated:
    """One text as an engine wrote it, still as token ids.

    `token_ids` hold no start token; they end with the end-of-sequence id if and only if the model
    finished before the length limit. `logprob` is the sum over these tokens in nats, under the model at
    temperature 1 before any truncation of its distribution; nan where the engine cannot tell.
    """

    token_ids: tuple[int, ...]
    logprob: float


@dataclass(frozen=True, slots=True)
class PseudoTarget:
    """A text written by a model and used as a target, with where it came from."""

    input_id: str
    generator: TextGenerator
    round: int
    sample: int
    """Which of the texts for this input, from 0."""
    token_ids: tuple[int, ...]
    text: str
    logprob: float
    copies: int = 1
    """How many of the input's samples were this very text."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a system wrote for one input when it was scored."""

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
    """What a model costs to run on this machine."""

    parameters: int
    disk_bytes: int
    latency_p50_ms: float
    latency_p95_ms: float
    throughput_per_s: float
    """Outputs per second at the batch size named in `how`."""
    peak_memory_bytes: int
    """What loading the model and writing with it added to the process."""
    how: str
    """Engine, device, threads, batch size, decoding: without them the numbers say nothing."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A stage's receipt, written last: its presence means the stage is complete."""

    stage: str
    key: str
    settings: Mapping[str, object]
    inputs: Mapping[str, str]
    """Name of each stage this one read -> its key."""
    files: Mapping[str, str]
    """Path inside the stage's folder -> sha256."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """What the stage found out: counts, scores, curves."""
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
