"""The check of a teacher whose tokenizer is not the student's: how many of the student's tokens are the teacher's."""

from collections.abc import Iterator

from understudy.pipeline.model_sources import load_task_tokenizer, tokenizer_source
from understudy.pipeline.prepare import PreparedTask
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.network_check import Finding
from understudy.pipeline.starts import Start
from understudy.pipeline.training_data import TaskTokenizers, encoded_sources, gold_targets
from understudy.store import WorkerContext
from understudy.training.items import TrainItems

PROBED = 200
"""Labeled examples whose tokens are compared before training."""
MOST_UNKNOWN = 0.1
"""Share of target positions without a teacher distribution above which there is a warning."""


def token_map_findings(task: PreparedTask, teacher: Start | None, context: WorkerContext) -> Iterator[Finding]:
    """How the tokens of the labeled targets lie in those of a local teacher with another tokenizer."""
    if teacher is None or task.recipe.distil.kept_tokens is None:
        return
    tokenizers = TaskTokenizers(
        load_task_tokenizer(tokenizer_source(teacher.source), teacher.limits or task.limits, context),
        load_task_tokenizer(task.student, task.limits, context),
    )
    if (other := tokenizers.other) is None:
        return
    examples = load_split(context.folder(task.examples), "labeled")[:PROBED]
    targets = gold_targets(examples, tokenizers.student)
    shares = other.shares(
        TrainItems.of_all("gold", targets), targets.texts, encoded_sources(examples, tokenizers.teacher)
    )
    found = (
        "the student's tokens are not the teacher's, whose log-probabilities are mapped by bytes; of the tokens of "
        f"{len(targets.texts)} labeled targets {shares['exact']:.0%} are also the teacher's"
    )
    if shares["text"] <= MOST_UNKNOWN:
        yield Finding("tokenizers", found)
        return
    yield Finding(
        "tokenizers",
        f"{found}, and {shares['text']:.0%} have no distribution of the teacher, since the two tokenizers spell the "
        "texts differently",
        "use a student whose tokenizer has the task's characters",
        "warning",
    )
