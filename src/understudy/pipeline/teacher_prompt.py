"""The prompt of a local teacher: its own instructions and demonstrations, which the student never sees."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from understudy.config.model_sections import PretrainedTeacher, SourceFormat
from understudy.config.recipe import Recipe
from understudy.errors import DataError
from understudy.executors.local import Local
from understudy.models.task_tokenizer import TextLimits
from understudy.models.text import BLANK_LINE
from understudy.pipeline.context import RunContext
from understudy.pipeline.prepare import data_stage, text_limits
from understudy.pipeline.stages.data import load_split
from understudy.records import Example

DRAW = 23
"""Separates this draw from others by the same seed."""


def teacher_limits(
    recipe: Recipe, context: RunContext, chosen: SourceFormat | None, *, trained: bool
) -> TextLimits | None:
    """How the teacher reads the task; None where it reads it as the student does.

    The demonstrations are fields, so what they say is in the keys of the stages that read them.

    Args:
        recipe: of the run; its data are read if the teacher has demonstrations.
        context: of the run.
        chosen: the format in which the teacher reads a source.
        trained: whether it is fine-tuned on the task, after which its texts end with the end token.

    Raises:
        DataError: if there are not enough demonstrations, or their targets have blank lines in plain text.
    """
    teacher = recipe.teacher
    if not isinstance(teacher, PretrainedTeacher) or not teacher.has_own_prompt:
        return None
    limits = text_limits(recipe)
    own = replace(
        limits,
        prompt=limits.prompt if teacher.prompt is None else teacher.prompt,
        system=limits.system if teacher.system is None else teacher.system,
    )
    if not teacher.demonstrations:
        return own
    data = data_stage(recipe)
    context.store.get(data, Local(), context)
    labeled = load_split(context.folder(data), "labeled")
    demonstrations = drawn_demonstrations(labeled, teacher.demonstrations, recipe.seed)
    # A trained model ends its texts, and so does an encoder-decoder; a chat has a token for it.
    continues = chosen in {"none", "separator"} and not trained
    return replace(own, demonstrations=demonstrations, stop=stop_text(demonstrations) if continues else None)


def drawn_demonstrations(labeled: Sequence[Example], count: int, seed: int) -> tuple[tuple[str, str], ...]:
    """One more labeled example than are shown at a time, so that a source's own can be left out.

    Raises:
        DataError: if there are not so many.
    """
    if len(labeled) <= count:
        raise DataError(
            f"teacher.demonstrations is {count}, which needs {count + 1} labeled examples, as none is shown before its "
            f"own source, and the task has {len(labeled)}; lower teacher.demonstrations, or give more labeled examples"
        )
    order = np.random.default_rng((seed, DRAW)).permutation(len(labeled))[: count + 1]
    return tuple((labeled[int(row)].source, labeled[int(row)].targets[0]) for row in order)


def stop_text(demonstrations: Sequence[tuple[str, str]]) -> str:
    """Where a text that continues demonstrations ends: at the next line, or blank line if targets have several lines.

    Raises:
        DataError: if a target has a blank line itself.
    """
    targets = [target for _, target in demonstrations]
    blank = next((target for target in targets if BLANK_LINE in target), None)
    if blank is not None:
        raise DataError(
            f"a demonstration of the teacher has a blank line in its target {blank!r}, and without a chat template "
            "blank lines separate demonstrations; use a model with a chat template, fine-tune the teacher, or set "
            "teacher.demonstrations=0"
        )
    return BLANK_LINE if any("\n" in target for target in targets) else "\n"
