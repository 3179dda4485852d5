"""The facts in `report.json` on what systems generated and how their trainings went."""

from typing import NotRequired, TypedDict


class Interval(TypedDict):
    """A number with its bootstrap interval."""

    value: float | None
    low: float | None
    high: float | None
    note: NotRequired[str]
    """Why the value is None, as a sentence."""


class ItemErrorFacts(TypedDict):
    """Numbers, dates, codes and names of one output that disagree with its source, as they are written."""

    missing: list[str]
    """Of the source, not in the output."""
    invented: list[str]
    """Of the output, neither in the source nor in the prompt."""


class ConsistencyScore(TypedDict):
    """How one system's outputs agree with their sources."""

    missing: Interval
    """Items of the sources that the outputs lack, in percent; None where the sources have no items."""
    invented: Interval
    """Items of the outputs that are not in their sources, in percent; None where the outputs have no items."""
    outputs_with_missing: int
    outputs_with_invented: int


class ConsistencyFacts(TypedDict):
    """Source consistency of all systems on the test split."""

    outputs: int
    """Of each system."""
    systems: dict[str, ConsistencyScore]
    """System -> its rates; `REFERENCES` -> those of the first reference of each example, for comparison."""
    advantages: dict[str, Interval]
    """`missing` and `invented` -> advantage of the distilled student over the teacher in percentage points, paired;
    negative where the student is worse."""
    worse: list[str]
    """Which of both the student is worse in beyond the interval."""
    names: NotRequired[bool]
    """Whether names are checked in sources and references: not if either are in a script without capitals."""
    signatures: dict[str, str]


class HealthFacts(TypedDict):
    """Signs of a training that went wrong, for one system. None stands for what does not apply or is not known."""

    trained_parameters: NotRequired[int | None]
    """Parameters that training changed: of a LoRA adapter, or all; missing in reports of earlier versions."""
    steps: int | None
    """Optimizer steps, for a distilled student without those of a final fine-tuning; None where nothing was trained."""
    warmup_steps: int | None
    kept_step: int | None
    """The step of the weights that were kept."""
    evaluations: int | None
    dev_moved: bool | None
    """Whether the dev scores of several evaluations differed."""
    repetition: float
    """Share of the test outputs in which four words in a row occur twice, or of which loops of up to 12 characters
    cover half and at least 16 characters."""
    empty: float
    """Share of the test outputs without text."""
    length_ratio: float | None
    """Words of the test outputs per word of the first references."""
    unfinished: float | None
    """Share of the test outputs that were cut at the length limit."""
    top_token_agreement: Interval
    """Share of the positions of dev references at which the system and the teacher have the same most probable
    token; None with a note where it cannot be computed."""


class RemovedLayer(TypedDict):
    """A layer of the teacher that a pruned student lacks."""

    part: str
    """encoder or decoder."""
    layer: int
    loss: float
    """Of the teacher without this layer and those removed before, untrained, in nats per token."""


class RemovedLayersFacts(TypedDict):
    """Which layers of the teacher were removed by loss, in their order."""

    loss: float
    """Of the whole teacher."""
    removed: list[RemovedLayer]
    kept: dict[str, list[int]]
    examples: int
    """Labeled examples on which losses were compared."""


class ChangedTargets(TypedDict):
    """How many targets one model's tokenizer changes when it encodes and decodes them."""

    checked: int
    changed: int
    text: str | None
    """The first target that changes."""
    decoded: str | None
    """What it becomes."""


class TrimmedVocabulary(TypedDict):
    """A network whose vocabulary was trimmed; before training, and on dev, which had no part in the choice."""

    system: str
    tokens: int
    whole_tokens: int
    parameters: int
    whole_parameters: int
    tokens_per_text: float
    whole_tokens_per_text: float
    coverage: float
    """Share of the tokens of dev, as the whole tokenizer reads it, that are kept."""


class TeacherLogprobFacts(TypedDict):
    """Cached teacher log-probabilities of texts that exist before training: what they cost and what they leave out."""

    generator: str
    """Whose texts: gold or teacher."""
    texts: int
    positions: int
    bytes_per_position: float
    mean_kept: float
    """Tokens kept at a position, in the mean."""
    mean_mass: float
    """Their probability."""
    lost_divergence: float | None
    """KL divergence of the teacher's distributions from what is kept, the rest spread evenly over the other tokens, in
    nats per position; None for an API teacher."""


class LeftOutFacts(TypedDict):
    """Texts or examples that were not used, or not completely, because of their length."""

    what: str
    """A split's examples, or a generator's texts."""
    count: int
    of: int
    reason: str
    """Why, as a clause that follows `what`."""
    remedy: str
    """What to set, as a clause."""


class TokenMapFacts(TypedDict):
    """How the student's tokens were compared with those of a teacher with another tokenizer: shares of positions."""

    texts: str
    """Whose: gold or teacher."""
    positions: int
    exact: float
    """The teacher has the same token there."""
    merged: float
    """A token of the teacher begins there and ends elsewhere."""
    inside: float
    """It begins within a token of the teacher."""
    text: float
    """The teacher's distribution is unknown, and the label alone is learned."""
    mass: float
    """Mean probability of the student's tokens that are kept; the rest became no token, or was not kept."""
