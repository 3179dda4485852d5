"""The outputs of a teacher: targets, log-probabilities, predictions; from a network here, or from an API.

This is the only module that distinguishes the two. A run has one order of stages for both (`run.py`).
"""

from typing import Any, Protocol

from understudy.api_teacher.collect import endpoint_for
from understudy.config.endpoint import Endpoint
from understudy.config.model_sections import (
    EndpointTeacher,
)
from understudy.config.recipe import Recipe
from understudy.models.task_tokenizer import TextLimits
from understudy.pipeline.api_teacher_outputs import before_requests, open_api_teacher
from understudy.pipeline.context import RunContext
from understudy.pipeline.local_teacher import open_local_teacher
from understudy.pipeline.model_sources import (
    ModelSource,
    TokenizerSource,
)
from understudy.pipeline.prepare import PreparedTask
from understudy.pipeline.recipe_checks import check_names
from understudy.pipeline.stages.api_responses import ApiResponsesStage
from understudy.pipeline.stages.examples import ExamplesStage
from understudy.pipeline.stages.report_parts import ApiReport
from understudy.pipeline.stages.teacher_logprobs import LogprobsStage
from understudy.pipeline.systems import System
from understudy.records import TextGenerator
from understudy.store import Stage


class TeacherOutputs(Protocol):
    """What the rest of a run takes from its teacher."""

    @property
    def task(self) -> PreparedTask:
        """The recipe, prepared."""

    @property
    def source(self) -> ModelSource:
        """How the teacher reads the task; for an API teacher, how the student does."""

    @property
    def network(self) -> Stage[Any] | None:
        """The teacher's network; an API teacher has none here."""

    @property
    def leaves_inputs_out(self) -> bool:
        """Whether inputs may remain without a text."""

    @property
    def own_limits(self) -> TextLimits | None:
        """How a local teacher reads the task where it has a prompt of its own."""

    @property
    def pool_tokens(self) -> TokenizerSource:
        """Whose token ids its texts have."""

    def targets(self) -> Stage[Any] | None:
        """The pseudo-targets that are learned; None where the method learns none."""

    def logprobs(self, generator: TextGenerator, kept_tokens: int, top_p: float | None) -> LogprobsStage:
        """The log-probabilities of texts that exist before training."""

    def system(self) -> System:
        """The teacher as a system that is scored."""

    def report(self, logprobs: LogprobsStage | None) -> ApiReport | None:
        """Facts of an API teacher for the report."""


def open_teacher(recipe: Recipe, context: RunContext) -> TeacherOutputs:
    """A recipe's teacher, after the stages that all keys depend on were made and the models were checked.

    Raises:
        UnderstudyError: if the data, the checkpoints or an API teacher's responses cannot be used.
    """
    check_names(recipe, allow_code=context.allow_code)
    if isinstance(recipe.teacher, EndpointTeacher):
        return open_api_teacher(recipe, recipe.teacher, context)
    return open_local_teacher(recipe, recipe.teacher, context)


def requests_before(recipe: Recipe, context: RunContext) -> tuple[ExamplesStage, ApiResponsesStage] | None:
    """The inputs of an API teacher and the stage of its responses, if they are not there yet; no request is sent.

    Raises:
        UnderstudyError: as `open_teacher`.
    """
    check_names(recipe, allow_code=context.allow_code)
    if not isinstance(recipe.teacher, EndpointTeacher):
        return None
    readable, responses = before_requests(recipe, recipe.teacher, context)
    return None if context.store.finished(responses) else (readable, responses)


def endpoint_of(recipe: Recipe) -> Endpoint | None:
    """The server of an API teacher with how it samples; None for a local teacher."""
    if not isinstance(recipe.teacher, EndpointTeacher):
        return None
    requested = recipe.pseudo_targets
    endpoint = endpoint_for(recipe.teacher.endpoint, requested.decoding, requested.per_input)
    needed = recipe.distil.needs_teacher_logits and endpoint.top_logprobs > 0
    return endpoint.model_copy(update={"require_logprobs": needed})
