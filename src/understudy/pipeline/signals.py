"""The stages of the teacher signal: what the teacher says of gold and of its own texts, asked once for all students."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from understudy.config.model_sections import EndpointTeacher
from understudy.models.checkpoint import load_network
from understudy.pipeline.bench import Bench, device_here
from understudy.pipeline.networks import NETWORK, Readers, student_settings
from understudy.pipeline.told import align_told
from understudy.pool.logprob_cache import LogprobCacheFile, TeacherLogprobs, read_logprob_cache
from understudy.records import TextGenerator
from understudy.store import Finished
from understudy.store.stages import content_key
from understudy.training.mixture import Mixture, TrainItem
from understudy.training.step import TargetLogits
from understudy.training.teacher_logprobs import TeacherLogprobScorer, cache_teacher_logprobs

TITLES: Mapping[TextGenerator, str] = {
    "gold": "teacher listens to gold",
    "teacher": "teacher listens to pseudo-targets",
}

BLOCK = 65_536
"""Positions that are read at once."""


def make_signals(
    bench: Bench,
    readers: Readers,
    mixture: Callable[[], Mixture],
    inputs: Mapping[str, Finished],
    settings: Mapping[str, object],
) -> dict[TextGenerator, Finished]:
    """A stage for each kind of text that is there before training; none where the method keeps no signal.

    Args:
        bench: of the run.
        readers: how teacher and student read.
        mixture: the texts; made only where a signal is missing.
        inputs: the teacher, and the stages that the texts come from.
        settings: what else the texts depend on.
    """
    distil, asked = bench.recipe.distil, bench.recipe.teacher
    if distil.kept_tokens is None:
        return {}
    # An endpoint tells a few tokens, and which it wrote.
    told, top = isinstance(asked, EndpointTeacher), distil.kept_tokens
    if isinstance(asked, EndpointTeacher):
        top = min(top, asked.endpoint.top_logprobs + 1)
    texts: dict[TextGenerator, bool] = {"gold": distil.targets.gold > 0, "teacher": "pool" in inputs}
    # The ids of a target depend on what reads it: some tokenizers begin a target of an encoder-decoder with a token.
    shared = {**settings, "left": bench.left, "has_encoder": readers.student.is_encoder_decoder}
    if told:  # the student's tokens, not the teacher's
        shared |= student_settings(bench.recipe)
    made: dict[TextGenerator, Finished] = {}
    for generator in (name for name, wanted in texts.items() if wanted):
        own = {name: stage for name, stage in inputs.items() if generator == "teacher" or name != "pool"}
        made[generator] = bench.store.stage(
            f"signal_{generator}",
            settings={**shared, "top": top, "precision": bench.precision},
            inputs=own,
            work=partial(_align, readers, mixture, inputs, top, generator)
            if told
            else partial(_listen, bench, readers, mixture, inputs["teacher"], top, generator),
        )
    return made


def read_signals(
    stages: Mapping[TextGenerator, Finished], mixture: Mixture, teacher: Finished
) -> dict[TextGenerator, TeacherLogprobs]:
    """The logprob_caches of finished stages.

    Raises:
        PoolError: if one is not that of the mixture's texts.
    """
    return {
        generator: read_logprob_cache(
            stage.folder,
            positions=len(mixture.targets[generator].texts.flat),
            content=_content(mixture, generator, teacher),
        )
        for generator, stage in stages.items()
    }


def _listen(
    bench: Bench,
    readers: Readers,
    mixture: Callable[[], Mixture],
    teacher: Finished,
    top: int,
    generator: TextGenerator,
    folder: Path,
) -> Mapping[str, object]:
    """The work of a stage."""
    taught = mixture()
    targets, vocabulary = taught.targets[generator], len(readers.teacher.tokenizer)
    network = load_network(str(teacher.folder / NETWORK)).requires_grad_(requires_grad=False)
    listener = TeacherLogprobScorer(
        TargetLogits(network.to(device_here()), vocabulary, bench.precision),
        taught.teacher_reading_sources,
        top,
        readers.teacher.pad,
    )
    sources = [source for source in range(len(targets.counts)) if targets.counts[source]]
    lessons = [TrainItem(source, generator, tuple(targets.rows(source))) for source in sources]
    file = LogprobCacheFile.open(
        folder,
        positions=len(targets.texts.flat),
        top=min(top, vocabulary),
        content=_content(taught, generator, teacher),
    )
    with bench.progress.track(TITLES[generator], len(lessons), "input") as advance:
        cache_teacher_logprobs(listener, lessons, targets.texts, file, advance)
    return {"texts": len(targets.texts), **_kept(file.signal)}


def _align(
    readers: Readers,
    mixture: Callable[[], Mixture],
    inputs: Mapping[str, Finished],
    top: int,
    generator: TextGenerator,
    folder: Path,
) -> Mapping[str, object]:
    """The work of a stage whose teacher told what it could while it wrote."""
    taught = mixture()
    texts = taught.targets[generator].texts
    file = LogprobCacheFile.open(
        folder,
        positions=len(texts.flat),
        top=min(top, len(readers.student.tokenizer)),
        content=_content(taught, generator, inputs["teacher"]),
        dtype=np.float32,
    )
    shares = align_told(texts, readers.student, inputs, file, tells=generator == "teacher")
    return {"texts": len(texts), **shares, **_kept(file.signal)}


def _kept(signal: TeacherLogprobs) -> dict[str, object]:
    """What the signal costs and what it leaves out."""
    positions, mass = len(signal.ids_PK), 0.0
    for start in range(0, positions, BLOCK):
        mass_P = np.exp(signal.logp_PK[start : start + BLOCK].astype(np.float32)).sum(axis=1)
        mass += float(np.minimum(mass_P, 1.0).sum())
    return {
        "positions": positions,
        "bytes_per_position": signal.ids_PK.strides[0] + signal.logp_PK.strides[0],
        "mean_mass": mass / max(1, positions),
    }


def _content(mixture: Mixture, generator: TextGenerator, teacher: Finished) -> str:
    """What names the teacher, the sources as it reads them, and the texts, token by token."""
    digest = hashlib.sha256()
    for texts in (mixture.teacher_reading_sources, mixture.targets[generator].texts):
        digest.update(texts.flat.tobytes())
        digest.update(texts.offsets.tobytes())
    return content_key({"teacher": teacher.key, "texts": digest.hexdigest()})
