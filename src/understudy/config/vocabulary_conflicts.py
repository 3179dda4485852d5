"""Conflicts of a recipe about the tokens of teacher and student: trimmed vocabularies, and tokenizers of their own.

A rule is a function of the sections that its parameters name, as in `conflicts`.
"""

from collections.abc import Iterator

from understudy.config.distil import Distil
from understudy.config.model_sections import (
    AnyStudent,
    AnyTeacher,
    PretrainedStudent,
    PretrainedTeacher,
    PrunedStudent,
    ScratchStudent,
    ScratchTeacher,
)


def trimming_conflicts(teacher: AnyTeacher, student: AnyStudent) -> Iterator[str]:
    """What a trimmed vocabulary rules out."""
    own, students = trimmed_sizes(teacher, student)
    if own and isinstance(teacher, PretrainedTeacher) and teacher.finetune is None:
        yield (
            f"teacher.vocab_size is {own}, but the teacher is used as it is (teacher.finetune is null), and so is its "
            "vocabulary; set teacher.finetune, or set student.vocab_size instead"
        )
    if isinstance(student, PrunedStudent) and students and isinstance(teacher, ScratchTeacher):
        yield (
            f"student.vocab_size is {students}, but the tokenizer of a teacher from scratch is trained on the task's "
            "texts and the pruned student shares it; set teacher.vocab_size instead"
        )
    elif isinstance(student, PrunedStudent) and students and own:
        yield (
            f"student.vocab_size is {students}, but the pruned student shares the tokenizer of the teacher, which is "
            f"trimmed to {own} tokens; leave student.vocab_size out"
        )


def live_logits_of_other_tokens(distil: Distil, teacher: AnyTeacher, student: AnyStudent) -> Iterator[str]:
    """Two vocabularies by the recipe's sizes, with whole distributions of the teacher at every step."""
    if not distil.needs_teacher_logits or distil.kept_tokens is not None:
        return
    own, students = trimmed_sizes(teacher, student)
    if isinstance(student, ScratchStudent) and student.vocab_size:
        yield (
            f"student.vocab_size is {student.vocab_size}, so the student has a tokenizer of its own, but "
            f"distil.teacher_logprobs is dense, {LIVE_LOGITS}; {how_to_map_tokens(distil)}, or leave "
            "student.vocab_size out"
        )
    elif trimmed_apart(teacher, student):
        yield (
            f"teacher.vocab_size is {own or 'null'} and student.vocab_size {students or 'null'}, so the two have "
            f"different tokens, but distil.teacher_logprobs is dense, {LIVE_LOGITS}; {how_to_map_tokens(distil)}, trim "
            "both to the same size, or use a method that learns from text, such as sequence_level"
        )


LIVE_LOGITS = "which compares distributions over one vocabulary"


def how_to_map_tokens(distil: Distil) -> str:
    """What to change so that the teacher's tokens are mapped to the student's."""
    if wanted := distil.needed_at_every_step:
        return (
            f"use a method without {' and '.join(wanted)}, such as logits_kd, whose sparse log-probabilities are "
            "mapped to the student's tokens"
        )
    return "set teacher_logprobs={kind: sparse}, which maps the teacher's tokens to the student's"


def endpoint_has_one_vocabulary(student: AnyStudent) -> Iterator[str]:
    """A student from scratch has the only tokenizer of such a run."""
    if isinstance(student, ScratchStudent) and student.vocab_size:
        yield (
            f"student.vocab_size is {student.vocab_size}, but with teacher.endpoint teacher.vocab_size is the size of "
            "the student's tokenizer; set that instead"
        )


def trimmed_sizes(teacher: AnyTeacher, student: AnyStudent) -> tuple[int | None, int | None]:
    """The sizes that the vocabularies of teacher and student are trimmed to."""
    return (
        teacher.vocab_size if isinstance(teacher, PretrainedTeacher) else None,
        student.vocab_size if isinstance(student, PretrainedStudent | PrunedStudent) else None,
    )


def trimmed_apart(teacher: AnyTeacher, student: AnyStudent) -> bool:
    """Whether trimming alone gives teacher and student different tokens."""
    own, students = trimmed_sizes(teacher, student)
    shared = bool(own) and isinstance(student, PrunedStudent | ScratchStudent)
    return isinstance(teacher, PretrainedTeacher) and own != students and not shared
