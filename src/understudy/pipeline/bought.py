"""What an endpoint wrote for a recipe: pseudo-targets, references, and its own answers for dev and test.

The journal lies beside the store and outlives the stage, so that other settings of data or student buy nothing twice.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from understudy.api_teacher.collect import PromptGroup, open_journal, put, request_fingerprint
from understudy.api_teacher.journal import Choice, Journal
from understudy.api_teacher.response_filter import parse_response
from understudy.api_teacher.scheduler import outcome_of, refuse_unasked
from understudy.config.decoding import Sampling
from understudy.config.endpoint import Endpoint
from understudy.config.model_sections import EndpointTeacher
from understudy.config.recipe import Recipe
from understudy.config.task import FilesTask
from understudy.errors import GenerationError, StoreError
from understudy.evaluation.predictions import write_predictions
from understudy.pipeline.bench import Bench
from understudy.pipeline.data import taught_inputs
from understudy.pipeline.measure import SCORED, answers_of
from understudy.pipeline.told import write_told
from understudy.pool.pool import mark_copies
from understudy.pool.pool_files import write_pool_file
from understudy.records import Example, Prediction, PseudoTarget, TaskData
from understudy.store import Finished
from understudy.store.stages import claim, content_key

RESPONSES = "answers"
"""Folder beside the store: a folder with a journal for each question that was ever put to an endpoint."""
SHARD = "shard-00000.parquet"
TOLERATED = 0.1
"""Share of inputs that may come to nothing after all attempts; beyond it the server, not the inputs, is the matter."""


def make_bought(bench: Bench, data: TaskData, made: Finished) -> Finished:
    """The stage of all that the endpoint is asked for: texts to learn from, and answers to dev and test.

    A split whose references the endpoint writes is asked about twice: the first text is the reference, the second
    tells how far the endpoint agrees with itself.

    Args:
        bench: of the run.
        data: the task's splits.
        made: their stage.

    Raises:
        DataError: if no input is to be taught.
        GenerationError: if the budget does not suffice, or too many inputs came to nothing. What was answered is kept.
        StoreError: if another process asks the same questions.
    """
    recipe = bench.recipe
    endpoint = endpoint_of(recipe)
    taught = taught_inputs(recipe, data)
    held_out = {split: _texts_of(recipe, split) for split in SCORED}
    questions = [
        PromptGroup(taught, endpoint),
        *(PromptGroup(getattr(data, split), _asked_for(endpoint, texts)) for split, texts in held_out.items()),
    ]

    def work(folder: Path) -> Mapping[str, object]:
        with _journal(bench, endpoint) as journal:
            put(questions, journal, bench.progress)
            _refuse_too_little(questions, journal)
            rows = _write_texts(taught, journal, endpoint, folder)
            told = write_told(taught, journal.path, endpoint, folder)
            lost = {split: _write_answers(bench, split, data, journal, endpoint, folder) for split in SCORED}
            facts = _facts(questions, journal)
        return {"bought": {**facts, "texts": rows, "with_logprobs": told, "left_out": lost}}

    settings = {
        "endpoint": request_fingerprint(endpoint),
        "answer": [endpoint.answer, endpoint.refusals],
        "inputs": recipe.pseudo_targets.inputs,
        "per_input": endpoint.per_input,
        "held_out": held_out,
        "left": bench.left,
    }
    return bench.store.stage("bought", settings=settings, inputs={"data": made}, work=work)


def with_references(recipe: Recipe, data: TaskData, bought: Finished) -> TaskData:
    """The task with the references that the endpoint wrote; inputs for which it wrote none take no part."""
    splits = recipe.task.referenced_by_teacher if isinstance(recipe.task, FilesTask) else ()
    written = {
        split: tuple(Example(one.id, one.source, one.references) for one in answers_of(bought, split))
        for split in splits
    }
    return replace(data, **written)


def endpoint_of(recipe: Recipe) -> Endpoint:
    """Whom a recipe asks, for how many texts, drawn how."""
    assert isinstance(recipe.teacher, EndpointTeacher)  # noqa: S101 - the caller looked
    asked = recipe.pseudo_targets
    drawn = {"temperature": 0.0, "top_p": 1.0}
    if isinstance(asked.decoding, Sampling):
        drawn = {"temperature": asked.decoding.temperature, "top_p": asked.decoding.top_p}
    return Endpoint.model_validate({**recipe.teacher.endpoint.model_dump(), **drawn, "per_input": asked.per_input})


def _texts_of(recipe: Recipe, split: str) -> int:
    referenced = isinstance(recipe.task, FilesTask) and split in recipe.task.referenced_by_teacher
    return 2 if referenced else 1


def _asked_for(endpoint: Endpoint, texts: int) -> Endpoint:
    return endpoint.model_copy(update={"per_input": texts})


@contextmanager
def _journal(bench: Bench, endpoint: Endpoint) -> Iterator[Journal]:
    """The journal of these questions, held while it is written to."""
    folder = bench.store.root.parent / RESPONSES / content_key(request_fingerprint(endpoint))
    folder.mkdir(parents=True, exist_ok=True)
    with claim(folder / ".lock", wait=bench.store.wait) as alone:
        if not alone:
            raise StoreError(f"another process asks the same questions, in {folder}; wait for it")
        yield open_journal(folder, endpoint)


def _refuse_too_little(questions: Sequence[PromptGroup], journal: Journal) -> None:
    for question in questions:
        outcome = outcome_of(question.examples, journal, question.endpoint)
        refuse_unasked(outcome, question.endpoint)
        if len(outcome.failed) > TOLERATED * len(question.examples):
            why, count = Counter(outcome.failed.values()).most_common(1)[0]
            raise GenerationError(
                f"{len(outcome.failed)} of {len(question.examples)} inputs came to nothing, {count} of them because "
                f"{why}; what is answered is kept. See to the server, and give the same command again"
            )


def _write_texts(examples: Sequence[Example], journal: Journal, endpoint: Endpoint, folder: Path) -> int:
    """The usable texts as rows of a pool without token ids; how many there are."""
    rows = [
        PseudoTarget(example.id, "api", 0, sample, (), text, float("nan"))
        for example in examples
        for sample, text in enumerate(_usable(journal.answers(example.source)[: endpoint.per_input], endpoint))
    ]
    if not rows:
        rejected = outcome_of(examples, journal, endpoint).rejected
        why = ", ".join(f"{count} {reason}" for reason, count in rejected.items())
        raise GenerationError(
            f"none of the endpoint's answers is a target ({why}); mend teacher.endpoint.prompt, or what "
            "teacher.endpoint.answer and refusals let pass: answers are parse_response anew without being "
            "asked for again"
        )
    write_pool_file(
        folder / SHARD, mark_copies(rows), {"teacher": endpoint.model, "question": journal.path.parent.name}
    )
    return len(rows)


def _write_answers(bench: Bench, split: str, data: TaskData, journal: Journal, endpoint: Endpoint, folder: Path) -> int:
    """What the endpoint answers to a split, beside gold or beside what it wrote first; how many inputs are left out.

    Beside gold, an answer that is no text counts as an empty one: a score leaves nobody out.
    """
    examples: Sequence[Example] = getattr(data, split)
    twice = _texts_of(bench.recipe, split) == 2  # noqa: PLR2004 - the reference and the answer
    predictions = []
    for example in examples:
        asked = journal.answers(example.source)[: _texts_of(bench.recipe, split)]
        verdicts = [parse_response(choice, endpoint) for choice in asked]
        references = example.targets
        if twice:
            place = next((i for i, verdict in enumerate(verdicts) if not verdict.rejected), None)
            if place is None:
                continue
            references = (verdicts.pop(place).text,)
        predictions.append(Prediction(example.id, example.source, references, verdicts[0].text if verdicts else ""))
    write_predictions(folder / f"{split}.jsonl", predictions)
    if not predictions:
        raise GenerationError(
            f"the endpoint wrote no reference for any of the {len(examples)} inputs of {split}; mend "
            "teacher.endpoint.prompt, or what teacher.endpoint.answer and refusals let pass"
        )
    return len(examples) - len(predictions)


def _usable(choices: Sequence[Choice], endpoint: Endpoint) -> list[str]:
    return [verdict.text for choice in choices if not (verdict := parse_response(choice, endpoint)).rejected]


def _facts(questions: Sequence[PromptGroup], journal: Journal) -> dict[str, object]:
    """What was asked and what came of it, over all questions."""
    outcomes = [outcome_of(question.examples, journal, question.endpoint) for question in questions]
    rejected: Counter[str] = Counter()
    for outcome in outcomes:
        rejected.update(outcome.rejected)
    return {
        "model": questions[0].endpoint.model,
        "inputs": sum(len(question.examples) for question in questions),
        "requests": journal.requests,
        "rejected": dict(rejected.most_common()),
        "failed": dict(Counter(why for outcome in outcomes for why in outcome.failed.values()).most_common()),
        "spent": journal.spent if questions[0].endpoint.price else None,
    }
