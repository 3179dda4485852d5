"""From examples and pseudo-targets to what a training is given: token ids and the mixture of targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.columns import Examples, places
from understudy.config.decoding import Sampling
from understudy.config.distil import Adaptive, Growing, Shares, StudentSampling
from understudy.config.pseudo_targets import InputKind
from understudy.config.training import TargetsPerSource, Training
from understudy.models.task_tokenizer import TaskTokenizer
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.token_arrays import Targets, TokenArrays, offsets_of
from understudy.progress import SILENT, Progress, track_many
from understudy.records import Example, LeftOut, LeftOutReason, TaskData, TextGenerator
from understudy.training.mixture import Mixture
from understudy.training.other_tokenizer import OtherTokenizer
from understudy.training.schedules import StudentShare
from understudy.training.targets_per_source import with_targets_per_source


@dataclass(frozen=True)
class TaskTokenizers:
    """How teacher and student read the task."""

    teacher: TaskTokenizer
    student: TaskTokenizer

    @property
    def same_tokens(self) -> bool:
        """Whether the teacher's token ids are the student's."""
        return bool(self.teacher.tokenizer.get_vocab() == self.student.tokenizer.get_vocab())

    @property
    def other(self) -> OtherTokenizer | None:
        """How the teacher reads the student's texts; None where its token ids are the student's."""
        return None if self.same_tokens else OtherTokenizer(self.teacher, self.student)

    @property
    def swapped_ends(self) -> tuple[int, int] | None:
        """The ids that end a text of the teacher and of the student, where the tokens are the same and these differ."""
        ends = self.teacher.tokenizer.eos_token_id, self.student.tokenizer.eos_token_id
        return ends if self.same_tokens and ends[0] != ends[1] else None

    @property
    def same_reading(self) -> bool:
        """Whether teacher and student read a source as the same token ids: same tokens, roles and format."""
        return self.same_tokens and self.teacher.encode_sources(_PROBE) == self.student.encode_sources(_PROBE)


_PROBE = (Example("probe", "One source,\nof 2 lines."),)
"""Two models with the same tokens read any source alike if they read this one alike."""


@dataclass(frozen=True)
class MixtureSettings:
    """Which targets a distillation learns, in which shares, for which inputs."""

    shares: Shares
    inputs: tuple[InputKind, ...]
    samples: StudentSampling
    skip_inputs_without_text: bool
    """Whether inputs for which the teacher wrote nothing are left out (API teachers) instead of refused."""

    @property
    def samples_together(self) -> int | None:
        """Student samples of one input that a step can use; None: any number.

        Samples that are replayed age while the other inputs have their turn, so that more would have to be generated.
        """
        return None if isinstance(self.samples.decoding, Sampling) and not self.samples.max_age else 1


def source_examples(data: TaskData) -> Examples:
    """The inputs of a distillation: the labeled examples, then the unlabeled."""
    return Examples.joined(data.labeled, data.unlabeled)


def gold_mixture(
    examples: Sequence[Example], tokenizer: TaskTokenizer, training: Training, *, progress: Progress = SILENT
) -> Mixture:
    """Labeled examples alone: an epoch is every target once."""
    sources = encoded_sources(examples, tokenizer, progress)
    gold = gold_targets(examples, tokenizer, progress)
    mixture = Mixture(sources, {"gold": gold}, {"gold": 1.0}, np.arange(len(examples)))
    return with_targets_per_source(mixture, training.targets_per_source, epochs=training.epochs)


def distillation_mixture(
    settings: MixtureSettings,
    data: TaskData,
    tokenizers: TaskTokenizers,
    pool: PseudoTargetPool | None,
    *,
    targets_per_source: TargetsPerSource,
    epochs: int,
    progress: Progress = SILENT,
) -> Mixture:
    """Gold, the teacher's pool and the student's own samples, in the shares of the recipe."""
    examples, shares, samples = source_examples(data), settings.shares, settings.samples
    labeled = len(data.labeled)
    parts: Mapping[InputKind, np.ndarray] = {
        "labeled": np.arange(labeled),
        "unlabeled": np.arange(labeled, len(examples)),
    }
    targets: dict[TextGenerator, Targets] = {"gold": gold_targets(examples, tokenizers.student, progress)}
    if pool is not None:
        targets["teacher"] = pool_targets(examples, tokenizers, pool, progress)
    rounds = samples.rounds_per_epoch if shares.student else 1
    inputs = np.concatenate([parts[kind] for kind in parts if kind in settings.inputs])
    # Texts of only reasoning are no targets, and with other tokens than the teacher's some may be too long.
    if settings.skip_inputs_without_text or (
        pool is not None and not (has_text(pool).all() and tokenizers.same_tokens)
    ):
        inputs = inputs[targets["teacher"].counts[inputs] > 0]
    mixture = Mixture(
        sources=encoded_sources(examples, tokenizers.student, progress),
        targets=targets,
        shares={"gold": shares.gold, "teacher": shares.teacher, "student": shares.student},
        inputs=inputs,
        rounds_per_epoch=rounds,
        student_from_round=round(samples.start * epochs * rounds),
        student_share=_student_share(samples),
        teacher_sources=teacher_sources(examples, tokenizers, progress),
    )
    return with_targets_per_source(
        mixture, targets_per_source, epochs=epochs, student_samples=settings.samples_together
    )


def encoded_sources(examples: Sequence[Example], tokenizer: TaskTokenizer, progress: Progress = SILENT) -> TokenArrays:
    """The token ids of all sources."""
    with track_many(progress, "tokenize the sources", len(examples), "input") as advance:
        return TokenArrays.encoded(tokenizer.encode_sources, examples, advance)


def encoded_targets(texts: Sequence[str], tokenizer: TaskTokenizer, progress: Progress = SILENT) -> TokenArrays:
    """The token ids of target texts."""
    with track_many(progress, "tokenize the targets", len(texts), "text") as advance:
        return TokenArrays.encoded(tokenizer.encode_targets, texts, advance)


def gold_targets(examples: Sequence[Example], tokenizer: TaskTokenizer, progress: Progress = SILENT) -> Targets:
    """The token ids of all targets, by source."""
    own = Examples.of(examples)
    texts = encoded_targets(own.targets(), tokenizer, progress)
    return Targets(texts, offsets_of(own.target_counts()))


def pool_targets(
    examples: Sequence[Example], tokenizers: TaskTokenizers, pool: PseudoTargetPool, progress: Progress = SILENT
) -> Targets:
    """The pool's texts by source: the teacher's token ids where the student shares them, else encoded again.

    Where the tokens are the same and their roles differ, texts end with the student's token.

    A text that was truncated at the length limit has no end token, and gets none: the student would learn to stop in
    the middle of a sentence. A text that needs more positions than the student has, in its tokens, is left out and
    counted, as is one whose input (source or gold target) is over the student's limits.
    """
    pool.refuse_other_ids(tokenizers.teacher.tokenizer.get_vocab().values())
    texts = TokenArrays(pool.token_ids, pool.offsets)
    if tokenizers.same_tokens:
        texts = _with_roles_of_student(texts, tokenizers, pool)
    else:
        finished = _finished(texts, tokenizers.teacher.tokenizer.eos_token_id)
        texts = _without_end(encoded_targets(pool.texts, tokenizers.student, progress), ~finished)
    # The pool also has the inputs that only the teacher can read completely: they have no place among the examples.
    owners = places(pool.table["input_id"], Examples.of(examples).ids)
    exists, has_source = has_text(pool), owners >= 0
    fits = np.ones(len(texts), dtype=bool)
    if not tokenizers.same_tokens:
        fits = _has_positions(texts, owners, examples, tokenizers.student, progress)
    kept = np.flatnonzero(exists & has_source & fits)
    counts = np.bincount(owners[kept], minlength=len(examples))
    order = kept[np.argsort(owners[kept], kind="stable")]
    long: dict[LeftOutReason, NDArray[np.bool_]] = {
        "source": exists & ~has_source,
        "student_positions": exists & has_source & ~fits,
    }
    left_out = tuple(
        LeftOut("teacher", reason, int(chosen.sum()), int(exists.sum()))
        for reason, chosen in long.items()
        if chosen.any()
    )
    return Targets(texts.take(order), offsets_of(counts), left_out)


def has_text(pool: PseudoTargetPool) -> NDArray[np.bool_]:
    """Whether each text has a token: one that was only reasoning has none, and is no target."""
    return np.diff(pool.offsets) > 0


def _finished(texts: TokenArrays, end: int | None) -> NDArray[np.bool_]:
    """Whether each text ends with the end token."""
    if end is None:
        return np.ones(len(texts), dtype=bool)
    last = texts.flat[np.maximum(texts.offsets[1:] - 1, 0)] if len(texts.flat) else np.zeros(len(texts), np.int32)
    return np.asarray((texts.lengths > 0) & (last == end))


def _without_end(texts: TokenArrays, chosen: NDArray[np.bool_]) -> TokenArrays:
    """The texts; the chosen ones of more than one token without their last token."""
    shortened = chosen & (texts.lengths != 1)
    keep = np.ones(len(texts.flat), dtype=bool)
    keep[texts.offsets[1:][shortened] - 1] = False
    lengths = texts.lengths - shortened
    return TokenArrays(texts.flat[keep], offsets_of(lengths))


def _has_positions(
    texts: TokenArrays,
    owners: NDArray[np.int64],
    examples: Sequence[Example],
    student: TaskTokenizer,
    progress: Progress,
) -> NDArray[np.bool_]:
    """Whether the student has the positions for each text after its source; one without an owner counts as fitting."""
    limit, fits = student.max_positions, np.ones(len(texts), dtype=bool)
    if limit is None or not len(texts):
        return fits
    if student.needed_positions(student.max_source_tokens, int(texts.lengths.max())) <= limit:
        return fits
    sources = encoded_sources(examples, student, progress).lengths
    for row in np.flatnonzero(owners >= 0).tolist():
        fits[row] = student.needed_positions(int(sources[owners[row]]), int(texts.lengths[row])) <= limit
    if not fits.all():
        progress.log(
            f"{(~fits).sum()} pseudo-targets are left out: in the student's tokens they are longer than its {limit} "
            "positions"
        )
    return fits


def _with_roles_of_student(texts: TokenArrays, tokenizers: TaskTokenizers, pool: PseudoTargetPool) -> TokenArrays:
    """Rows of the teacher's token ids that end with the student's token.

    A row in which a special token of the student stands as one of the teacher's ordinary ones is encoded again.
    """
    teacher, student = tokenizers.teacher.tokenizer, tokenizers.student.tokenizer
    if teacher.eos_token_id == student.eos_token_id:
        return texts
    rows = [texts[index].tolist() for index in range(len(texts))]
    ended = [row[-1:] == [teacher.eos_token_id] for row in rows]
    bodies = [row[:-1] if end else row for row, end in zip(rows, ended, strict=True)]
    special = {student.eos_token_id, teacher.eos_token_id}
    again = [index for index, body in enumerate(bodies) if special.intersection(body)]
    encoded = tokenizers.student.encode_targets([pool.texts[index] for index in again])
    for index, row in zip(again, encoded, strict=True):
        bodies[index] = row[:-1]
    return TokenArrays.of(
        [[*body, student.eos_token_id] if end else body for body, end in zip(bodies, ended, strict=True)]
    )


def teacher_sources(
    examples: Sequence[Example], tokenizers: TaskTokenizers, progress: Progress = SILENT
) -> TokenArrays | None:
    """The sources as the teacher reads them; None where the student reads them alike."""
    return None if tokenizers.same_reading else encoded_sources(examples, tokenizers.teacher, progress)


def _student_share(samples: StudentSampling) -> StudentShare | None:
    match samples.share:
        case Growing(base=base):
            return StudentShare("growing", base)
        case Adaptive(step=step):
            return StudentShare("adaptive", step)
        case _:
            return None
