"""The stage that loads, converts and asks a network before anything is trained.

A conversion is right or wrong by the structure of a network, so the network before training decides.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from transformers import PreTrainedModel

from understudy.config.decoding import EngineName, Greedy
from understudy.config.model_sections import Prune
from understudy.errors import GenerationError, ModelError, UnderstudyError, first_line
from understudy.generation import ENGINES, Engine, converted_engine, open_engine
from understudy.generation.comparison import ProbeTexts, different_texts, largest_gap
from understudy.models.checkpoint import save_network
from understudy.models.task_tokenizer import TaskTokenizer, TextLimits
from understudy.pipeline.context import default_device
from understudy.pipeline.model_sources import (
    FromCheckpoint,
    FromScratch,
    checkpoint_path,
    load_source,
    load_task_tokenizer,
    pruned_for_size,
)
from understudy.pipeline.stages.data import load_split
from understudy.records import Example
from understudy.store import Stage, WorkerContext

PROBE_INPUTS = 4
ASKED_TOKENS = 3
FORCED_TOKENS = 32
"""Most tokens of a target whose log-probabilities are compared."""


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: str
    finding: str
    remedy: str = ""
    severity: str = "ok"
    """`ok`, `warning` or `error`; only errors stop a run."""


@dataclass(frozen=True)
class CheckFacts:
    """What one check found. An error is raised instead, so that it is not cached."""

    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class NetworkCheckStage(Stage[CheckFacts]):
    """A network before training, loaded, and asked for three tokens in each engine that it will use."""

    role: str
    """teacher or student."""
    start: FromScratch | FromCheckpoint
    prune: Prune | None
    limits: TextLimits
    probe: tuple[tuple[str, str], ...]
    """A few sources of the task with a text for each."""
    engine: EngineName
    device: str
    compute_type: str | None = None
    """Another type of weights with which it will generate; None: only float32."""
    name: ClassVar[str] = "network_check"

    @property
    def title(self) -> str:
        """What progress lines call the stage."""
        return f"check the {self.role}'s network"

    def run(self, folder: Path, context: WorkerContext) -> CheckFacts:
        """Checks the network; its files are removed afterwards.

        Raises:
            ModelError: if it cannot be loaded.
            GenerationError: if an engine generates nothing, or the requested one other texts than transformers.
        """
        try:
            return CheckFacts((self._finding(folder, context),))
        except (UnderstudyError, OSError):
            raise
        except Exception as error:  # whatever transformers meets in a checkpoint that nobody foresaw
            raise ModelError(
                f"the {self.role}'s network cannot be loaded and asked for a text ({type(error).__name__}: "
                f"{first_line(error)}); use another checkpoint"
            ) from error
        finally:
            for left in folder.iterdir():
                shutil.rmtree(left)

    def _finding(self, folder: Path, context: WorkerContext) -> Finding:
        tokenizer = load_task_tokenizer(self.start, self.limits, context)
        checkpoint = self._checkpoint(folder, tokenizer, context)
        workspace = folder / "engines"
        name, passed_over = converted_engine(self.engine, checkpoint, workspace)
        sources, targets = self._encoded(tokenizer)
        with open_engine("hf", checkpoint, workspace=workspace, device=self.device) as original:
            ask(original, sources, role=self.role)
            gap, rounded = 0.0, ""
            if name != "hf":
                with open_engine(name, checkpoint, workspace=workspace, device=self.device) as converted:
                    gap = compare(original, converted, (sources, targets), role=self.role)
            if self.compute_type:
                if name == "hf":
                    raise no_compute_type(self.compute_type, passed_over)
                with open_engine(
                    name, checkpoint, workspace=workspace, device=self.device, dtype=self.compute_type
                ) as converted:
                    difference = largest_gap(original.score(sources, targets), converted.score(sources, targets))
                    rounded = f"; in {self.compute_type} they differ by up to {difference:.1g} nats"
        checked = f"{self.role} network"
        if passed_over:
            return Finding(checked, f"generates with engine 'hf': {passed_over}", "set engine: hf", "warning")
        compared = f", log-probabilities within {gap:.1g} nats of transformers" if name != "hf" else ""
        return Finding(checked, f"loads and generates with engine {name!r}{compared}{rounded}")

    def _checkpoint(self, folder: Path, tokenizer: TaskTokenizer, context: WorkerContext) -> Path:
        if isinstance(self.start, FromCheckpoint) and self.prune is None and self.start.vocabulary is None:
            return Path(checkpoint_path(self.start.checkpoint, context))
        network: PreTrainedModel = load_source(self.start, tokenizer, context)
        if self.prune:
            network = pruned_for_size(network, self.prune)
        save_network(network, tokenizer.tokenizer, folder / "checkpoint")
        return folder / "checkpoint"

    def _encoded(self, tokenizer: TaskTokenizer) -> ProbeTexts:
        examples = [Example(str(number), source, (text,)) for number, (source, text) in enumerate(self.probe)]
        sources = tokenizer.encode_sources(examples)
        targets = [row[:FORCED_TOKENS] for row in tokenizer.encode_targets([text for _, text in self.probe])]
        positions = tokenizer.max_positions
        fits = [
            positions is None or tokenizer.needed_positions(len(row), self.limits.max_target_tokens) <= positions
            for row in sources
        ]
        return (
            [row for row, fit in zip(sources, fits, strict=True) if fit],
            [row for row, fit in zip(targets, fits, strict=True) if fit],
        )


def network_check(
    role: str,
    start: FromScratch | FromCheckpoint,
    examples: Path,
    limits: TextLimits,
    engine: EngineName,
    *,
    prune: Prune | None = None,
    compute_type: str | None = None,
) -> NetworkCheckStage:
    """The check of a network on a few inputs of dev, with gold targets or, where there are none, with the inputs."""
    sources = [example.source for example in load_split(examples, "dev")[:PROBE_INPUTS]]
    gold = [example.targets[0] for example in load_split(examples, "labeled")[:PROBE_INPUTS] if example.targets]
    texts = tuple(zip(sources, gold if len(gold) == len(sources) else sources, strict=False))
    return NetworkCheckStage(role, start, prune, limits, texts, engine, default_device(), compute_type)


def no_compute_type(requested: str, passed_over: str | None) -> GenerationError:
    """The error of a type of weights for a network that only engine `hf` can run."""
    reason = f": {passed_over}" if passed_over else ", which supports its family"
    return GenerationError(
        f"pseudo_targets.compute_type is {requested}, which only engine ctranslate2 has, but the teacher generates "
        f"with engine 'hf'{reason}; leave compute_type out"
    )


def ask(engine: Engine, sources: list[list[int]], *, role: str) -> None:
    """Asks for three tokens of each source.

    Raises:
        GenerationError: if their log-probabilities are not numbers.
    """
    for texts in engine.generate(sources, Greedy(), max_tokens=ASKED_TOKENS):
        if not texts[0].logprob <= 0:
            raise GenerationError(
                f"the {role}'s network gives its first tokens the log-probability {texts[0].logprob}: its weights are "
                "damaged or overflow in float32; use another checkpoint"
            )


def compare(original: Engine, converted: Engine, probe: ProbeTexts, *, role: str) -> float:
    """The largest difference between the log-probabilities of given texts, in nats per token.

    Raises:
        GenerationError: if it is above the tolerance, or short generated texts differ.
    """
    sources, targets = probe
    if not sources:
        return 0.0
    gap = largest_gap(original.score(sources, targets), converted.score(sources, targets))
    tolerance = ENGINES[converted.name].capabilities.tolerance
    different = different_texts(original, converted, sources, max_tokens=ASKED_TOKENS, tolerance=tolerance)
    if gap > tolerance or different:
        raise GenerationError(
            f"the {role}'s network generates other texts with engine {converted.name!r} than with transformers: "
            f"log-probabilities of the task's texts differ by up to {gap:.2g} nats per token, and {different} of "
            f"{len(sources)} texts of {ASKED_TOKENS} tokens; set engine: hf"
        )
    return gap
