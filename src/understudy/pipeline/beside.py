"""One student beside its teacher: how far apart on whose texts, and what the teacher makes of the student's beginnings.

The mathematics stands in `evaluation`: disagreement, exposure, prefixes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from understudy.config.decoding import Greedy, Sampling
from understudy.config.recipe import Recipe
from understudy.config.task import MetricName
from understudy.errors import VocabularyError
from understudy.evaluation.bootstrap import resample_weights, score
from understudy.evaluation.disagreement import Reading, read_texts
from understudy.evaluation.exposure import by_position, exposure_curve
from understudy.evaluation.prefixes import finish, opening
from understudy.generation import live_engine
from understudy.generation.engine import Engine
from understudy.models.checkpoint import load_network
from understudy.models.forward import target_logits
from understudy.pipeline.bench import device_here
from understudy.pipeline.measure import NLL, tally_texts
from understudy.pipeline.networks import NETWORK
from understudy.pipeline.readers import Reader, reader_of_checkpoint
from understudy.progress import ProgressCallback
from understudy.records import Example, Generated, Prediction
from understudy.report.diagnostics import Entropy, StudentDiagnosis
from understudy.store import Finished

PERCENTS = (0, 25, 50, 75, 100)
"""Of the text that the student writes before the teacher finishes."""
PURE = Sampling(temperature=1.0, top_k=0, top_p=1.0)
"""The network's own distribution: an expectation over its prefixes allows no truncation."""
SAMPLES = 4
"""Texts that each writer samples per input."""
PASSES = 2 + 2 * SAMPLES + 1 + len(PERCENTS)
"""How often an input is worked on: two writers, their texts read, the student's greedy text, the teacher's endings."""


@dataclass(frozen=True)
class Side:
    """The teacher or a student, ready to write and to be read."""

    network: PreTrainedModel
    reader: Reader
    sources: Sequence[Sequence[int]]

    @property
    def end(self) -> int:
        """The end-of-sequence id."""
        return int(self.reader.tokenizer.eos_token_id)


def side_of(recipe: Recipe, stage: Finished, examples: Sequence[Example]) -> Side:
    """The network a stage holds, on the fastest device here, with the examples' sources as it reads them."""
    place = str(stage.folder / NETWORK)
    reader = reader_of_checkpoint(recipe.task, place)
    return Side(load_network(place).to(device_here()), reader, reader.sources(examples))


def metric_of(recipe: Recipe) -> MetricName:
    """The first metric that reads texts, the primary one before all others."""
    names = (recipe.task.primary_metric, *recipe.task.metrics, "bleu")
    return next(name for name in names if name != NLL)


def refuse_other_tokens(teacher: Reader, student: Reader) -> None:
    """Let pass only two networks that share their tokens.

    Raises:
        VocabularyError: if they do not.
    """
    if teacher.tokenizer.get_vocab() != student.tokenizer.get_vocab():
        raise VocabularyError(
            "diagnostics compare the teacher's and the student's distributions over one vocabulary, and these two have "
            "different tokens; diagnose a run whose student has the teacher's tokenizer"
        )


def diagnosis(
    recipe: Recipe,
    teacher: Side,
    student: Side,
    examples: Sequence[Example],
    *,
    data: str,
    workspace: Path,
    advance: ProgressCallback,
) -> StudentDiagnosis:
    """Exposure bias, the teacher's entropy, and the scores of texts that the student begins and the teacher finishes.

    Args:
        recipe: of the run.
        teacher: finishes, and is the truth the student is measured by.
        student: has the teacher's tokens.
        examples: with references.
        data: names them in the signature.
        workspace: for files of the engine, which are removed.
        advance: told of every text, `PASSES` times for each example.
    """
    weights_RN = resample_weights(len(examples), resamples=recipe.evaluation.resamples, seed=recipe.seed)
    longest = recipe.task.max_target_tokens
    with live_engine(recipe.engine, teacher.network, teacher.reader.tokenizer, workspace=workspace) as engine:
        by_teacher = _sampled(engine, teacher, longest, recipe.seed, advance)
    with live_engine(recipe.engine, student.network, student.reader.tokenizer, workspace=workspace) as engine:
        by_student = _sampled(engine, student, longest, recipe.seed, advance)
        answers = engine.generate(student.sources, Greedy(), max_tokens=longest, progress=advance)
    on_student, on_teacher = (_read(teacher, student, texts, advance) for texts in (by_student, by_teacher))
    student_kl, teacher_kl = ([[r.kl_T for r in own] for own in readings] for readings in (on_student, on_teacher))
    curve = exposure_curve(student_kl, teacher_kl, weights_RN)
    finished = {
        percent: _finished(recipe, teacher, examples, [opening(own[0].token_ids, percent) for own in answers], advance)
        for percent in PERCENTS
    }
    fields = {"data": data, "split": "dev", "decoding": "greedy"}
    scores = {
        percent: score(tally_texts(metric_of(recipe), predictions, recipe.task, fields), weights_RN)
        for percent, predictions in finished.items()
    }
    return {
        "excess_error": {
            "value": curve.excess_L.tolist(),
            "low": curve.low_L.tolist(),
            "high": curve.high_L.tolist(),
        },
        "on_student": curve.on_student_L.tolist(),
        "on_teacher": curve.on_teacher_L.tolist(),
        "entropy_on_student": _entropy(on_student),
        "entropy_on_teacher": _entropy(on_teacher),
        "guided": [
            {"percent": percent, "value": own.value, "low": own.low, "high": own.high}
            for percent, own in scores.items()
        ],
        "signature": scores[0].signature,
    }


def _sampled(
    engine: Engine, side: Side, longest: int, seed: int, advance: ProgressCallback
) -> list[tuple[Generated, ...]]:
    return engine.generate(side.sources, PURE, per_source=SAMPLES, max_tokens=longest, seed=seed, progress=advance)


def _read(
    teacher: Side, student: Side, texts: Sequence[Sequence[Generated]], advance: ProgressCallback
) -> list[list[Reading]]:
    """The texts of each source as both read them."""
    owners = [source for source, own in enumerate(texts) for _ in own]
    readings = read_texts(
        partial(target_logits, teacher.network),
        partial(target_logits, student.network),
        teacher_sources=[teacher.sources[owner] for owner in owners],
        student_sources=[student.sources[owner] for owner in owners],
        texts=[text.token_ids for own in texts for text in own],
        vocabulary=len(teacher.reader.tokenizer),
        device=device_here(),
        advance=advance,
    )
    together = iter(readings)
    return [list(islice(together, len(own))) for own in texts]


def _finished(
    recipe: Recipe,
    teacher: Side,
    examples: Sequence[Example],
    openings: Sequence[Sequence[int]],
    advance: ProgressCallback,
) -> list[Prediction]:
    """The teacher finishes what was begun."""
    texts = finish(
        teacher.network,
        sources=teacher.sources,
        openings=openings,
        end=teacher.end,
        pad=teacher.reader.pad,
        max_tokens=recipe.task.max_target_tokens,
        advance=advance,
    )
    return [
        Prediction(example.id, example.source, example.targets, teacher.reader.text(text).strip())
        for example, text in zip(examples, texts, strict=True)
    ]


def _entropy(readings: Sequence[Sequence[Reading]]) -> Entropy:
    entropies = [[reading.entropy_T for reading in own] for own in readings]
    return {
        "mean": float(np.concatenate([text_T for own in entropies for text_T in own]).mean()),
        "by_position": by_position(entropies).tolist(),
    }
