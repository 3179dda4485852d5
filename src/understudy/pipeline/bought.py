"""What an endpoint wrote for a recipe: pseudo-targets, references, and its own answers for dev and test.

The journal lies beside the store and outlives the stage, so that other settings of data or student buy nothing twice.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from understudy.api_teacher.collect import (
    PromptGroup,
    collect_groups,
    endpoint_for,
    exclusive_journal,
    refuse_incomplete,
    request_fingerprint,
)
from understudy.api_teacher.response_logprobs import LOGPROBS, write_response_logprobs
from understudy.api_teacher.responses import (
    pool_rows,
    predictions_of,
    response_facts,
    texts_per_input,
    with_teacher_references,
)
from understudy.config.endpoint import Endpoint
from understudy.config.model_sections import EndpointTeacher
from understudy.config.recipe import Recipe
from understudy.config.task import FilesTask
from understudy.evaluation.predictions import write_predictions
from understudy.pipeline.bench import Bench
from understudy.pipeline.data import taught_inputs
from understudy.pipeline.measure import SCORED, answers_of
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.shards import write_shard
from understudy.records import TaskData
from understudy.store import Finished
from understudy.store.stages import content_key

RESPONSES = "responses"
"""Folder beside the store: a folder with a journal for each question that was ever put to an endpoint."""
SHARD = "shard-00000.parquet"


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
    held_out = {split: texts_per_input(teacher_references=_has_references(recipe, split)) for split in SCORED}
    groups = [
        PromptGroup(taught, endpoint),
        *(
            PromptGroup(getattr(data, split), endpoint.model_copy(update={"per_input": texts}))
            for split, texts in held_out.items()
        ),
    ]
    journals = bench.store.root.parent / RESPONSES / content_key(request_fingerprint(endpoint))

    def work(folder: Path) -> Mapping[str, object]:
        with exclusive_journal(journals, endpoint, wait=bench.store.wait) as journal:
            collect_groups(groups, journal, bench.progress)
            refuse_incomplete(groups, journal)
            rows = pool_rows(taught, journal, endpoint)
            write_shard(folder / SHARD, rows, {"teacher": endpoint.model, "question": journals.name})
            pool = PseudoTargetPool.open(folder)
            with_logprobs = write_response_logprobs(taught, journal.path, endpoint, pool, folder / LOGPROBS)
            left_out = {}
            for split in SCORED:
                examples = getattr(data, split)
                own = _has_references(recipe, split)
                predictions = predictions_of(split, examples, journal, endpoint, teacher_references=own)
                write_predictions(folder / f"{split}.jsonl", predictions)
                left_out[split] = len(examples) - len(predictions)
            facts = asdict(response_facts(groups, journal))
        return {"bought": {**facts, "texts": len(rows), "with_logprobs": with_logprobs, "left_out": left_out}}

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
    return with_teacher_references(data, {split: answers_of(bought, split) for split in splits})


def endpoint_of(recipe: Recipe) -> Endpoint:
    """The endpoint settings of a recipe."""
    assert isinstance(recipe.teacher, EndpointTeacher)  # noqa: S101 - the caller looked
    return endpoint_for(recipe.teacher.endpoint, recipe.pseudo_targets.decoding, recipe.pseudo_targets.per_input)


def _has_references(recipe: Recipe, split: str) -> bool:
    return isinstance(recipe.task, FilesTask) and split in recipe.task.referenced_by_teacher
