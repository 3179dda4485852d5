"""What the page of `understudy play` shows, as JSON: the run, its test inputs, and the answers of its systems.

The server of the page is in `play`.
"""

import codecs
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any

from understudy.errors import DataError, ModelError
from understudy.evaluation.consistency import item_errors
from understudy.records import Example, Prediction
from understudy.serving.confidence import Calibration, SystemConfidence
from understudy.serving.deployment import Answering, Deployment, TextSettings, TokenLogprob

MOST_FOUND = 20
"""Test inputs that a search shows."""


@dataclass(frozen=True)
class PlaySettings:
    """What the page shows of a run."""

    run: str
    """Name of the run."""
    deployments: Mapping[str, Deployment]
    """`student`, and `teacher` if it is not behind an API."""
    inputs: Sequence[Example]
    """The test split, with its references."""
    recorded: Sequence[str] | None
    """For each of these inputs the text of a teacher behind an API; None if the teacher answers here."""
    prompt: str
    """Items of it are not invented by a text that has them."""
    confidence: SystemConfidence | None = None
    """Of the student; None if the run recorded none."""
    device: str = "cpu"


@dataclass(frozen=True)
class OpenSystem:
    """A system that answers."""

    answering: Answering
    settings: TextSettings
    no_tokens: str | None
    """Why the probabilities of its tokens are not known; None if they are."""
    calibration: Calibration | None = None
    """Of its confidence, if it is known."""


def open_system(answering: Answering, example: str) -> OpenSystem:
    """A system after a first short text, because the first call of an engine takes longer than later ones.

    Args:
        answering: the system.
        example: a source.
    """
    settings = replace(answering.evaluated, logprobs=True)
    rows = answering.encode([example])
    try:
        answering.texts(rows, replace(settings, max_tokens=2))
    except ModelError as error:
        return OpenSystem(answering, replace(settings, logprobs=False), f"no token probabilities: {error}")
    return OpenSystem(answering, settings, None)


def answer_facts(system: OpenSystem, source: str, *, prompt: str) -> dict[str, Any]:
    """What the page shows of a system's answer.

    Args:
        system: that answers.
        source: the input.
        prompt: of the task.

    Returns:
        The text and its items that disagree with the source, probabilities from 0 to 1, and the milliseconds of
        tokenization and generation: without those of computing the probabilities of the tokens.

    Raises:
        DataError: if the source is empty or has too many tokens.
    """
    if not source.strip():
        raise DataError("the input is empty; type a text")
    ended: list[float] = []

    def finished(*_: object, **_values: object) -> None:
        ended.append(perf_counter())

    begun = perf_counter()
    rows = system.answering.encode([source])
    if (reason := system.answering.refusal(rows[0])) is not None:
        raise DataError(reason)
    ((answer, *_),) = system.answering.texts(rows, system.settings, finished)
    return {
        "text": answer.text,
        "pieces": pieces_of(answer.logprobs or ()),
        "no_tokens": system.no_tokens,
        "tokens": answer.tokens,
        "milliseconds": round(1000 * (ended[-1] - begun), 1),
        "confidence": answer.confidence,
        "probability": system.calibration.probability(answer.confidence) if system.calibration else None,
        "finished": answer.finished,
        **_items(source, answer.text, prompt),
    }


def pieces_of(logprobs: Sequence[TokenLogprob]) -> list[tuple[str, float]]:
    """Tokens as texts of whole characters with their probabilities.

    The tokens that share a character are one piece with the product of their probabilities; a special token, such as
    the one that ends a text, is an empty piece.
    """
    pieces = []
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text, logprob = "", 0.0
    for token in logprobs:
        text += decoder.decode(token.content)
        logprob += token.logprob
        if not decoder.getstate()[0]:
            pieces.append((text, math.exp(min(0.0, logprob))))
            text, logprob = "", 0.0
    if rest := text + decoder.decode(b"", final=True):
        pieces.append((rest, math.exp(min(0.0, logprob))))
    return pieces


def run_facts(settings: PlaySettings) -> dict[str, Any]:
    """What the page shows before an input is given."""
    known = settings.confidence
    shown = ("threshold", "deferred", "score", "quality")
    curve = [{name: getattr(point, name) for name in shown} for point in (known.dev if known else ())]
    return {
        "run": settings.run,
        "systems": {name: own.system for name, own in settings.deployments.items()},
        "inputs": len(settings.inputs),
        "calibrated": known is not None,
        "metric": known.metric if known else None,
        "curve": curve,
    }


def found_inputs(inputs: Sequence[Example], contains: str) -> dict[str, Any]:
    """The first inputs that contain a text in any case, by their indices, and how many there are."""
    wanted = contains.casefold()
    found = [index for index, one in enumerate(inputs) if wanted in one.source.casefold()]
    return {"found": len(found), "inputs": [(index, inputs[index].source[:200]) for index in found[:MOST_FOUND]]}


def input_facts(settings: PlaySettings, index: int) -> dict[str, Any]:
    """One test input with its references, and the recorded text of a teacher behind an API.

    Raises:
        DataError: if there is no such input.
    """
    if not 0 <= index < len(settings.inputs):
        raise DataError(f"there is no test input {index}, only 0 to {len(settings.inputs) - 1}")
    one = settings.inputs[index]
    facts: dict[str, Any] = {"source": one.source, "references": one.targets, "recorded": None}
    if settings.recorded is not None:
        text = settings.recorded[index]
        facts["recorded"] = {"text": text, **_items(one.source, text, settings.prompt)}
    return facts


def _items(source: str, text: str, prompt: str) -> dict[str, Any]:
    return asdict(item_errors(Prediction("", source, (), text), prompt=prompt))
