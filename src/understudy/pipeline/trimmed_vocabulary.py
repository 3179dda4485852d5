"""Which networks of a run have a trimmed vocabulary: the stages of their tokenizers, made before all later keys."""

from dataclasses import replace

from understudy.config.model_sections import PretrainedStudent, PretrainedTeacher, PrunedStudent
from understudy.config.recipe import Recipe
from understudy.executors.local import Local
from understudy.models.task_tokenizer import TextLimits
from understudy.models.tokenizers import load_tokenizer
from understudy.pipeline.context import RunContext
from understudy.pipeline.model_sources import TokenizerSource, checkpoint_path
from understudy.pipeline.prepare import data_stage, text_limits
from understudy.pipeline.stages.api_responses import ApiResponsesStage
from understudy.pipeline.stages.vocabulary import VocabularyStage


def teacher_vocabulary(
    recipe: Recipe, whole: TokenizerSource, context: RunContext, own: TextLimits | None = None
) -> VocabularyStage | None:
    """The trimmed tokenizer of a pretrained teacher, made now; None if it stays whole.

    Args:
        recipe: of the run.
        whole: the teacher's tokenizer before trimming.
        context: of the run.
        own: how the teacher reads the task, if it has its own prompt.
    """
    teacher = recipe.teacher
    if not isinstance(teacher, PretrainedTeacher) or teacher.vocab_size is None:
        return None
    with_withheld = teacher.labels == "all"
    stage = VocabularyStage(whole, data_stage(recipe), _reads(recipe, own), teacher.vocab_size, with_withheld)
    return _made(stage, context)


def student_vocabulary(
    recipe: Recipe,
    whole: TokenizerSource,
    context: RunContext,
    *,
    teacher: TokenizerSource | None = None,
    teacher_trimmed: VocabularyStage | None = None,
    responses: ApiResponsesStage | None = None,
) -> VocabularyStage | None:
    """The trimmed tokenizer of a pretrained or pruned student, made now; None if it stays whole.

    Args:
        recipe: of the run.
        whole: the student's tokenizer before trimming.
        context: of the run.
        teacher: that of a local teacher before trimming.
        teacher_trimmed: the teacher's trimmed tokenizer, which the student shares if the whole ones and the requested
            sizes are equal.
        responses: those of an API teacher, which the student learns.
    """
    student = recipe.student
    if not isinstance(student, PretrainedStudent | PrunedStudent) or student.vocab_size is None:
        return None
    own = VocabularyStage(
        whole, data_stage(recipe), _reads(recipe), student.vocab_size, with_withheld=False, responses=responses
    )
    if teacher and teacher_trimmed and teacher_trimmed.vocab_size == student.vocab_size:
        vocabs = [load_tokenizer(checkpoint_path(one.tokens, context)).get_vocab() for one in (teacher, whole)]
        if vocabs[0] == vocabs[1]:
            own = replace(own, with_withheld=teacher_trimmed.with_withheld, like=teacher_trimmed)
    return _made(own, context)


def _reads(recipe: Recipe, own: TextLimits | None = None) -> tuple[TextLimits, ...]:
    """The prompts whose tokens are needed; the limits in tokens do not matter."""
    return tuple(
        replace(limits, max_source_tokens=1, max_target_tokens=1) for limits in (text_limits(recipe), own) if limits
    )


def _made(stage: VocabularyStage, context: RunContext) -> VocabularyStage:
    context.store.get(stage, Local(), context)
    return stage
