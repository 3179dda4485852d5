"""Turns the journal of an API teacher into pseudo-targets, predictions, references, and facts for the report."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from understudy.api_teacher.journal import Journal
from understudy.api_teacher.request_types import most_common
from understudy.api_teacher.response_filter import parse_response
from understudy.api_teacher.scheduler import PromptGroup, outcome_of
from understudy.config.endpoint import Endpoint
from understudy.errors import GenerationError, PoolError
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.rows import mark_copies
from understudy.records import Example, Prediction, PseudoTarget, TaskData


@dataclass(frozen=True)
class ResponseFacts:
    """What was requested and what became of it, over all prompt groups."""

    model: str
    inputs: int
    requests: int
    rejected: Mapping[str, int]
    """Reason why texts are not usable -> number of texts, the most frequent first."""
    failed: Mapping[str, int]
    """Reason why inputs failed -> number of inputs, the most frequent first."""
    spent: float | None
    """None without prices."""


def pool_rows(examples: Sequence[Example], journal: Journal, endpoint: Endpoint) -> list[PseudoTarget]:
    """The usable texts as rows of a pool, without token ids, in the order of the inputs.

    Raises:
        GenerationError: if no text is usable, with the counted reasons.
    """
    rows = [
        PseudoTarget(example.id, "api", 0, sample, (), text, float("nan"))
        for example in examples
        for sample, text in enumerate(_usable_texts(example, journal, endpoint))
    ]
    if not rows:
        rejected = outcome_of(examples, journal, endpoint).rejected
        reasons = ", ".join(f"{reason}: {count}" for reason, count in rejected.items())
        raise GenerationError(
            f"none of the endpoint's responses is usable as a target ({reasons}); change teacher.endpoint.prompt, or "
            "the filters teacher.endpoint.answer and refusals, which apply to the stored responses without new requests"
        )
    return mark_copies(rows)


def tokenized_rows(
    responses: PseudoTargetPool,
    input_ids: Sequence[str],
    encode: Callable[[Sequence[str]], Sequence[Sequence[int]]],
    *,
    max_tokens: int,
) -> list[PseudoTarget]:
    """The rows of some inputs with the student's token ids; texts over the limit are left out, none is truncated.

    Args:
        responses: rows without token ids, as `pool_rows` makes them; the sample numbers are kept.
        input_ids: the inputs, in the order of the result.
        encode: texts -> token ids of the student's targets, special tokens included.
        max_tokens: the limit.

    Raises:
        PoolError: if no text is within the limit.
    """
    known = set(responses.inputs)
    rows = [row for input_id in input_ids if input_id in known for row in responses.targets_of(input_id)]
    tokens = encode([row.text for row in rows])
    kept = [replace(row, token_ids=tuple(ids)) for row, ids in zip(rows, tokens, strict=True) if len(ids) <= max_tokens]
    if not kept:
        raise PoolError(
            f"none of the endpoint's {len(responses)} texts is within task.max_target_tokens ({max_tokens}) for an "
            "input of the pool; raise it"
        )
    return kept


def predictions_of(
    split: str,
    examples: Sequence[Example],
    journal: Journal,
    endpoint: Endpoint,
    *,
    teacher_references: bool,
) -> list[Prediction]:
    """The teacher's predictions for dev or test.

    With human references, the first text is the prediction; an unusable one counts as an empty text, so that no input
    is left out of the score. With references by the teacher, the first usable text of an input is its reference and the
    next of its two texts the prediction; inputs without a usable text are left out.

    Args:
        split: its name, for messages.
        examples: the inputs of the split.
        journal: holds one text per input, two with references by the teacher (`texts_per_input`).
        endpoint: the filters `answer` and `refusals`.
        teacher_references: whether the teacher writes the references too.

    Raises:
        GenerationError: if no input has a reference.
    """
    predictions = []
    for example in examples:
        choices = journal.responses(example.source)[: texts_per_input(teacher_references=teacher_references)]
        parsed = [parse_response(choice, endpoint) for choice in choices]
        references = example.targets
        if teacher_references:
            first = next((i for i, response in enumerate(parsed) if not response.rejected), None)
            if first is None:
                continue
            references = (parsed.pop(first).text,)
        predictions.append(Prediction(example.id, example.source, references, parsed[0].text if parsed else ""))
    if not predictions:
        raise GenerationError(
            f"the endpoint wrote no usable reference for any of the {len(examples)} inputs of {split}; change "
            "teacher.endpoint.prompt, or the filters teacher.endpoint.answer and refusals"
        )
    return predictions


def texts_per_input(*, teacher_references: bool) -> int:
    """Texts to request for an input of dev or test: the prediction, and the reference if the teacher writes it."""
    return 2 if teacher_references else 1


def with_teacher_references(data: TaskData, predictions: Mapping[str, Sequence[Prediction]]) -> TaskData:
    """The task with the references that the teacher wrote; inputs without one are left out.

    Args:
        data: the task.
        predictions: split -> its predictions, for each split with references by the teacher.
    """
    references = {
        split: tuple(Example(prediction.id, prediction.source, prediction.references) for prediction in rows)
        for split, rows in predictions.items()
    }
    return replace(data, **references)


def response_facts(groups: Sequence[PromptGroup], journal: Journal) -> ResponseFacts:
    """Counts what was requested and what became of it."""
    outcomes = [outcome_of(group.examples, journal, group.endpoint) for group in groups]
    rejected: Counter[str] = Counter()
    for outcome in outcomes:
        rejected.update(outcome.rejected)
    failed = Counter(reason for outcome in outcomes for reason in outcome.failed.values())
    return ResponseFacts(
        model=groups[0].endpoint.model,
        inputs=sum(len(group.examples) for group in groups),
        requests=journal.requests,
        rejected=dict(rejected.most_common()),
        failed=most_common(failed),
        spent=journal.spent if groups[0].endpoint.price else None,
    )


def _usable_texts(example: Example, journal: Journal, endpoint: Endpoint) -> list[str]:
    choices = journal.responses(example.source)[: endpoint.per_input]
    return [response.text for choice in choices if not (response := parse_response(choice, endpoint)).rejected]
