"""The stages of the teacher signal: what the teacher says of gold and of its own texts, asked once for all students."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from understudy.config.networks import EndpointTeacher
from understudy.models.checkpoint import load_network
from understudy.pipeline.bench import Bench, device_here
from understudy.pipeline.networks import NETWORK, Readers, student_settings
from understudy.pipeline.told import align_told
from understudy.pool.signal import Signal, SignalFile, read_signal
from understudy.records import Generator
from understudy.store import Finished
from understudy.store.stages import content_key
from understudy.training.listening import Listener, listen
from understudy.training.mixture import Lesson, Mixture
from understudy.training.step import TargetLogits

TITLES: Mapping[Generator, str] = {"gold": "teacher listens to gold", "teacher": "teacher listens to pseudo-targets"}

BLOCK = 65_536
"""Positions that are read at once."""


def make_signals(
    bench: Bench,
    readers: Readers,
    mixture: Callable[[], Mixture],
    inputs: Mapping[str, Finished],
    settings: Mapping[str, object],
) -> dict[Generator, Finished]:
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
    texts: dict[Generator, bool] = {"gold": distil.targets.gold > 0, "teacher": "pool" in inputs}
    # The ids of a target depend on what reads it: some tokenizers begin a target of an encoder-decoder with a token.
    shared = {**settings, "left": bench.left, "has_encoder": readers.student.is_encoder_decoder}
    if told:  # the student's tokens, not the teacher's
        shared |= student_settings(bench.recipe)
    made: dict[Generator, Finished] = {}
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


def read_signals(stages: Mapping[Generator, Finished], mixture: Mixture, teacher: Finished) -> dict[Generator, Signal]:
    """The signals of finished stages.

    Raises:
        PoolError: if one is not that of the mixture's texts.
    """
    return {
        generator: read_signal(
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
    generator: Generator,
    folder: Path,
) -> Mapping[str, object]:
    """The work of a stage."""
    taught = mixture()
    targets, vocabulary = taught.targets[generator], len(readers.teacher.tokenizer)
    network = load_network(str(teacher.folder / NETWORK)).requires_grad_(requires_grad=False)
    listener = Listener(
        TargetLogits(network.to(device_here()), vocabulary, bench.precision),
        taught.heard_sources,
        top,
        readers.teacher.pad,
    )
    sources = [source for source in range(len(targets.counts)) if targets.counts[source]]
    lessons = [Lesson(source, generator, tuple(targets.rows(source))) for source in sources]
    file = SignalFile.open(
        folder,
        positions=len(targets.texts.flat),
        top=min(top, vocabulary),
        content=_content(taught, generator, teacher),
    )
    with bench.progress.work(TITLES[generator], len(lessons), "input") as advance:
        listen(listener, lessons, targets.texts, file, advance)
    return {"texts": len(targets.texts), **_kept(file.signal)}


def _align(
    readers: Readers,
    mixture: Callable[[], Mixture],
    inputs: Mapping[str, Finished],
    top: int,
    generator: Generator,
    folder: Path,
) -> Mapping[str, object]:
    """The work of a stage whose teacher told what it could while it wrote."""
    taught = mixture()
    texts = taught.targets[generator].texts
    file = SignalFile.open(
        folder,
        positions=len(texts.flat),
        top=min(top, len(readers.student.tokenizer)),
        content=_content(taught, generator, inputs["teacher"]),
        dtype=np.float32,
    )
    shares = align_told(texts, readers.student, inputs, file, tells=generator == "teacher")
    return {"texts": len(texts), **shares, **_kept(file.signal)}


def _kept(signal: Signal) -> dict[str, object]:
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


def _content(mixture: Mixture, generator: Generator, teacher: Finished) -> str:
    """What names the teacher, the sources as it reads them, and the texts, token by token."""
    digest = hashlib.sha256()
    for texts in (mixture.heard_sources, mixture.targets[generator].texts):
        digest.update(texts.flat.tobytes())
        digest.update(texts.offsets.tobytes())
    return content_key({"teacher": teacher.key, "texts": digest.hexdigest()})
