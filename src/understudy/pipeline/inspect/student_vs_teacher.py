"""One student against its teacher: exposure bias, the teacher's entropy, and texts that the student begins.

Axes: N examples, R resamples, T target positions.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from understudy.config.decoding import EngineName, Greedy, Sampling
from understudy.errors import VocabularyError
from understudy.evaluation.bootstrap import resample_weights, score
from understudy.evaluation.disagreement import Disagreement, measure_disagreement
from understudy.evaluation.exposure import exposure_curve, mean_by_position
from understudy.evaluation.metrics import SystemOutputs, tally
from understudy.evaluation.prefixes import complete_prefixes, prefix_of
from understudy.generation import Engine, live_engine
from understudy.models.checkpoint import load_network
from understudy.models.forward import target_logits
from understudy.models.task_tokenizer import TaskTokenizer, TextLimits, checkpoint_task_tokenizer
from understudy.pipeline.metric_settings import MetricSettings, load_metrics
from understudy.progress import ProgressCallback
from understudy.records import Example, Generated, Prediction
from understudy.report.diagnostics import Entropy, StudentDiagnosis

PERCENTS = (0, 25, 50, 75, 100)
"""Of the text that the student begins before the teacher finishes it."""
PURE = Sampling(temperature=1.0, top_k=0, top_p=1.0)
"""The network's own distribution: an expectation over its prefixes allows no truncation."""
SAMPLES = 4
"""Texts that each network samples per input."""
PASSES = 2 + 2 * SAMPLES + 1 + len(PERCENTS)
"""Passes over each input: two networks sample, both score the samples, the student's greedy text, and its endings."""


@dataclass(frozen=True)
class LoadedModel:
    """The teacher or a student, ready to generate and to score."""

    network: PreTrainedModel
    tokenizer: TaskTokenizer
    sources: Sequence[Sequence[int]]

    @property
    def end(self) -> int:
        """The end-of-sequence id."""
        return int(self.tokenizer.tokenizer.eos_token_id)


@dataclass(frozen=True)
class ComparisonSettings:
    """How a student is compared with its teacher."""

    examples: Sequence[Example]
    """With references."""
    max_tokens: int
    seed: int
    engine: EngineName
    resamples: int
    metric: str
    settings: MetricSettings
    data: str
    """Names the examples in the signature."""
    workspace: Path
    allow_code: bool


def load_model(place: Path, limits: TextLimits, examples: Sequence[Example], device: str) -> LoadedModel:
    """The network in a folder with the examples' sources as it reads them."""
    tokenizer = checkpoint_task_tokenizer(limits, str(place))
    return LoadedModel(load_network(str(place)).to(device), tokenizer, tokenizer.encode_sources(examples))


def refuse_other_tokens(teacher: TaskTokenizer, student: TaskTokenizer) -> None:
    """Refuses two networks with different tokens.

    Raises:
        VocabularyError: if they do not.
    """
    if teacher.tokenizer.get_vocab() != student.tokenizer.get_vocab():
        raise VocabularyError(
            "diagnostics compare the teacher's and the student's distributions over one vocabulary, and these two have "
            "different tokens; diagnose a run whose student has the teacher's tokenizer"
        )


def compare_networks(
    teacher: LoadedModel, student: LoadedModel, settings: ComparisonSettings, progress: ProgressCallback
) -> StudentDiagnosis:
    """Exposure bias, the teacher's entropy, and the scores of texts that the student begins and the teacher finishes.

    Args:
        teacher: finishes texts, and is the distribution that the student is compared with.
        student: has the teacher's tokens.
        settings: examples, sampling and metric.
        progress: called for every text, `PASSES` times for each example.
    """
    weights_RN = resample_weights(len(settings.examples), resamples=settings.resamples, seed=settings.seed)
    with _engine(teacher, settings) as engine:
        by_teacher = _sampled(engine, teacher, settings, progress)
    with _engine(student, settings) as engine:
        by_student = _sampled(engine, student, settings, progress)
        greedy = engine.generate(student.sources, Greedy(), max_tokens=settings.max_tokens, progress=progress)
    on_student, on_teacher = (_read(teacher, student, texts, progress) for texts in (by_student, by_teacher))
    student_kl, teacher_kl = ([[r.kl_T for r in own] for own in readings] for readings in (on_student, on_teacher))
    curve = exposure_curve(student_kl, teacher_kl, weights_RN)
    loaded = load_metrics([settings.metric], settings.settings, allow_code=settings.allow_code)
    metric, resource = loaded[settings.metric]
    fields = {"data": settings.data, "split": "dev", "decoding": "greedy"}
    scores = {}
    for percent in PERCENTS:
        prefixes = [prefix_of(own[0].token_ids, percent) for own in greedy]
        finished = SystemOutputs(_finished(teacher, settings, prefixes, progress))
        scores[percent] = score(tally(metric, finished, resource, fields=fields), weights_RN)
    return {
        "excess_error": {
            "value": curve.excess_L.tolist(),
            "low": curve.low_L.tolist(),
            "high": curve.high_L.tolist(),
        },
        "kl_on_student_text": curve.on_student_L.tolist(),
        "kl_on_teacher_text": curve.on_teacher_L.tolist(),
        "teacher_entropy_on_student_text": _entropy(on_student),
        "teacher_entropy_on_teacher_text": _entropy(on_teacher),
        "completion_scores": [
            {"percent": percent, "value": own.value, "low": own.low, "high": own.high}
            for percent, own in scores.items()
        ],
        "signature": scores[0].signature,
    }


def _engine(model: LoadedModel, settings: ComparisonSettings) -> AbstractContextManager[Engine]:
    return live_engine(settings.engine, model.network, model.tokenizer.tokenizer, workspace=settings.workspace)


def _sampled(
    engine: Engine, model: LoadedModel, settings: ComparisonSettings, progress: ProgressCallback
) -> list[tuple[Generated, ...]]:
    return engine.generate(
        model.sources,
        PURE,
        per_source=SAMPLES,
        max_tokens=settings.max_tokens,
        seed=settings.seed,
        progress=progress,
    )


def _read(
    teacher: LoadedModel, student: LoadedModel, texts: Sequence[Sequence[Generated]], progress: ProgressCallback
) -> list[list[Disagreement]]:
    """The distributions of both networks on the texts of each source."""
    owners = [source for source, own in enumerate(texts) for _ in own]
    readings = measure_disagreement(
        partial(target_logits, teacher.network),
        partial(target_logits, student.network),
        teacher_sources=[teacher.sources[owner] for owner in owners],
        student_sources=[student.sources[owner] for owner in owners],
        texts=[text.token_ids for own in texts for text in own],
        vocabulary=len(teacher.tokenizer.tokenizer),
        device=teacher.network.device,
        progress=progress,
    )
    together = iter(readings)
    return [list(islice(together, len(own))) for own in texts]


def _finished(
    teacher: LoadedModel, settings: ComparisonSettings, prefixes: Sequence[Sequence[int]], progress: ProgressCallback
) -> list[Prediction]:
    """The texts that the student began, finished by the teacher."""
    texts = complete_prefixes(
        teacher.network,
        sources=teacher.sources,
        prefixes=prefixes,
        eos=teacher.end,
        pad=teacher.tokenizer.pad_id,
        max_tokens=settings.max_tokens,
        progress=progress,
    )
    return [
        Prediction(example.id, example.source, example.targets, teacher.tokenizer.decode(text).strip())
        for example, text in zip(settings.examples, texts, strict=True)
    ]


def _entropy(readings: Sequence[Sequence[Disagreement]]) -> Entropy:
    entropies = [[reading.entropy_T for reading in own] for own in readings]
    return {
        "mean": float(np.concatenate([text_T for own in entropies for text_T in own]).mean()),
        "by_position": mean_by_position(entropies).tolist(),
    }
