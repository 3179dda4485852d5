"""What a pruned student will be: its size, and how long it will take, known before it learns anything.

Which layers are kept decides how long an answer of given length takes, what they have learned does not.
"""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import cast

from understudy.config.model_sections import Prune, PrunedStudent
from understudy.evaluation.depths import cost_by_depth, layers_of
from understudy.generation.engine import cores
from understudy.models.checkpoint import load_network
from understudy.models.prune import prune
from understudy.pipeline.bench import Bench
from understudy.pipeline.measure import THREADS, few_threads
from understudy.pipeline.networks import NETWORK
from understudy.pipeline.readers import Reader
from understudy.records import TaskData
from understudy.store import Finished

INPUTS = 8


def make_cut(bench: Bench, data: TaskData, reader: Reader, teacher: Finished) -> Finished | None:
    """The stage that measures a pruned student beside the whole teacher, and says so; None where none is pruned."""
    student = bench.recipe.student
    if not isinstance(student, PrunedStudent):
        return None
    examples = data.dev[:INPUTS]
    sources = reader.sources(examples)
    tokens = max(1, round(mean(map(len, reader.targets([example.targets[0] for example in examples])))))
    settings: dict[str, object] = {
        "prune": student.prune.model_dump(),
        "sources": sources,
        "tokens": tokens,
        # The cost on another machine is another result.
        "machine": [platform.machine(), cores(), THREADS],
    }

    def work(_folder: Path) -> Mapping[str, object]:
        whole = load_network(str(teacher.folder / NETWORK))
        cut = prune(whole, encoder_layers=student.prune.encoder_layers, decoder_layers=student.prune.decoder_layers)
        depths = [layers_of(whole), _kept(layers_of(whole), student.prune)]
        with few_threads():
            costs = cost_by_depth(
                whole,
                depths=depths,
                lengths=[tokens],
                sources=sources,
                end=reader.tokenizer.eos_token_id,
                pad=reader.pad,
            )
        return {
            "layers": depths,
            "parameters": [whole.num_parameters(), cut.num_parameters()],
            "latency_ms": [cost.latency_ms for cost in costs],
            "tokens": tokens,
        }

    stage = bench.store.stage("cut", settings=settings, inputs={"teacher": teacher}, work=work)
    bench.progress.log(told(stage.manifest.facts))
    return stage


def told(facts: Mapping[str, object]) -> str:
    """The facts of a cut as a sentence."""
    (before, after), (whole, cut) = (
        cast(Sequence[dict[str, int]], facts["layers"]),
        cast(list[int], facts["parameters"]),
    )
    slow, fast = cast(list[float], facts["latency_ms"])
    kept = ", ".join(f"{after[part]} of {before[part]} {part} layers" for part in before)
    return (
        f"the student keeps {kept}: {cut / 1e6:.2f} M of {whole / 1e6:.2f} M parameters, predicted latency "
        f"{fast:.1f} ms of the teacher's {slow:.1f} ({fast / slow:.0%}; {facts['tokens']} tokens, hf, 1 thread)"
    )


def _kept(layers: Mapping[str, int], asked: Prune) -> dict[str, int]:
    """How many layers of each part are kept."""
    wanted = {"encoder": asked.encoder_layers, "decoder": asked.decoder_layers}
    return {
        part: total if (own := wanted[part]) is None else own if isinstance(own, int) else len(own)
        for part, total in layers.items()
    }
