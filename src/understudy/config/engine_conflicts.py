"""Conflicts between a recipe's engine and what it is to generate; the engines themselves load torch."""

from collections.abc import Iterator

from understudy.config.decoding import EngineName
from understudy.config.evaluation import Evaluation
from understudy.config.pseudo_targets import PseudoTargets

LACKED_DECODINGS = {"ctranslate2": {"diverse_beam"}, "vllm": {"beam", "k_beams", "diverse_beam"}}
"""Engine -> the kinds of decoding that it does not have."""


def engine_has_the_decodings(
    engine: EngineName, pseudo_targets: PseudoTargets, evaluation: Evaluation
) -> Iterator[str]:
    """The engine generates pseudo-targets and the evaluated texts as requested."""
    sections = {"pseudo_targets.decoding": pseudo_targets.decoding, "evaluation.decoding": evaluation.decoding}
    for key, decoding in sections.items():
        if decoding.kind in LACKED_DECODINGS.get(engine, ()):
            yield (
                f"{key} is {decoding.kind}, which engine {engine} does not support; set engine to auto, which uses one "
                "that does, or use decoding greedy or sampling"
            )


def engine_has_the_compute_type(engine: EngineName, pseudo_targets: PseudoTargets) -> Iterator[str]:
    """The engine opens weights of the requested type."""
    if engine in {"hf", "vllm"} and pseudo_targets.compute_type != "float32":
        yield (
            f"pseudo_targets.compute_type is {pseudo_targets.compute_type}, which engine {engine} does not have; set "
            "engine to auto or ctranslate2, or leave compute_type out"
        )
