"""From splits and pool to what a training teaches."""

from collections.abc import Sequence

import numpy as np

from understudy.config.distil import Adaptive, Distil, Growing, Shares
from understudy.config.model_sections import EndpointTeacher
from understudy.config.recipe import Recipe
from understudy.pipeline.networks import Readers
from understudy.pipeline.readers import Reader
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.token_arrays import Targets, TokenArrays
from understudy.records import Example, TaskData, TextGenerator
from understudy.store import Finished
from understudy.training.mixture import Mixture
from understudy.training.schedules import StudentShare

GOLD_ALONE = Shares(gold=1.0)


def gold_mixture(examples: Sequence[Example], reader: Reader, *, targets_per_source: int) -> Mixture:
    """Labelled examples alone: an epoch is every target once."""
    sources = TokenArrays.of(reader.sources(examples))
    gold = _gold(examples, reader)
    return Mixture(sources, {"gold": gold}, {"gold": 1.0}, np.arange(len(examples)), targets_per_source)


def distillation_mixture(recipe: Recipe, data: TaskData, readers: Readers, pool: Finished | None) -> Mixture:
    """Gold, the teacher's pool and the student's own texts, in the recipe's shares.

    Sources are the labelled examples, then the unlabelled; the recipe says which of them pseudo-targets are for.
    """
    distil, training = recipe.distil, recipe.training
    examples = (*data.labeled, *data.unlabeled)
    labeled = len(data.labeled)
    parts = {"labeled": np.arange(labeled), "unlabeled": np.arange(labeled, len(examples))}
    targets: dict[TextGenerator, Targets] = {"gold": _gold(examples, readers.student)}
    if pool is not None:
        targets["teacher"] = _teacher_targets(examples, readers, PseudoTargetPool.open(pool.folder))
    rounds = distil.student_samples.rounds_per_epoch if distil.targets.student else 1
    asked = recipe.pseudo_targets.inputs
    inputs = np.concatenate([parts[kind] for kind in ("labeled", "unlabeled") if kind in asked])
    if isinstance(recipe.teacher, EndpointTeacher):  # what it left without a text, the report tells
        inputs = inputs[targets["teacher"].counts[inputs] > 0]
    return Mixture(
        sources=TokenArrays.of(readers.student.sources(examples)),
        targets=targets,
        shares={"gold": distil.targets.gold, "teacher": distil.targets.teacher, "student": distil.targets.student},
        inputs=inputs,
        targets_per_source=training.targets_per_source,
        rounds_per_epoch=rounds,
        student_from_round=round(distil.student_samples.start * training.epochs * rounds),
        student_share=_student_share(distil),
        teacher_sources=_teacher_sources(examples, readers),
    )


def _student_share(distil: Distil) -> StudentShare | None:
    match distil.student_samples.share:
        case Growing(base=base):
            return StudentShare("growing", base)
        case Adaptive(step=step):
            return StudentShare("adaptive", step)
        case _:
            return None


def _gold(examples: Sequence[Example], reader: Reader) -> Targets:
    rows = iter(reader.targets([text for example in examples for text in example.targets]))
    return Targets.of([[next(rows) for _ in example.targets] for example in examples])


def _teacher_targets(examples: Sequence[Example], readers: Readers, pool: PseudoTargetPool) -> Targets:
    """The pool's texts by source: as the teacher's token ids where the student shares them, else read anew.

    A text that the length limit cut has no end, and gets none: the student would learn to stop in mid-sentence.
    """
    cuts = pool.offsets
    rows = [pool.token_ids[cuts[i] : cuts[i + 1]].tolist() for i in range(len(pool))]
    if not readers.same_tokens:
        end = readers.teacher.tokenizer.eos_token_id
        whole = [end is None or row[-1] == end for row in rows]
        read = readers.student.targets(pool.texts)
        rows = [row if ended or len(row) == 1 else row[:-1] for row, ended in zip(read, whole, strict=True)]
    of_input: dict[str, list[Sequence[int]]] = {example.id: [] for example in examples}
    for name, row in zip(pool.input_ids, rows, strict=True):
        of_input[name].append(row)
    return Targets.of([of_input[example.id] for example in examples])


def _teacher_sources(examples: Sequence[Example], readers: Readers) -> TokenArrays | None:
    same = readers.same_tokens and readers.teacher.is_encoder_decoder == readers.student.is_encoder_decoder
    return None if same else TokenArrays.of(readers.teacher.sources(examples))
