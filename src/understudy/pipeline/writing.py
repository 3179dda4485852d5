"""The stage in which the teacher writes the pool."""

from collections.abc import Mapping
from pathlib import Path

from understudy.generation import open_engine
from understudy.models.checkpoint import load_network
from understudy.pipeline.bench import Bench
from understudy.pipeline.lessons import pool_inputs
from understudy.pipeline.networks import NETWORK
from understudy.pipeline.readers import Reader
from understudy.pool.pool import PseudoTargetPool
from understudy.records import TaskData
from understudy.store import Finished
from understudy.teacher.writing import write_pool


def make_pool(
    bench: Bench, data: TaskData, reader: Reader, teacher: Finished, limits: Mapping[str, object]
) -> Finished:
    """The stage that holds the teacher's pseudo-targets."""
    recipe = bench.recipe
    asked = recipe.pseudo_targets
    settings = {
        "pseudo_targets": asked.model_dump(),
        "seed": recipe.seed,
        "engine": recipe.engine,
        "limits": limits,
    }

    def work(folder: Path) -> Mapping[str, object]:
        examples = pool_inputs(data, asked.inputs)
        sources = dict(zip((example.id for example in examples), reader.sources(examples), strict=True))
        network = load_network(str(teacher.folder / NETWORK))
        with (
            open_engine(recipe.engine, network, reader.tokenizer) as engine,
            bench.progress.work("teacher writes pseudo-targets", len(sources), "input") as advance,
        ):
            write_pool(
                engine,
                sources,
                decoding=asked.decoding,
                per_input=asked.per_input,
                max_tokens=recipe.task.max_target_tokens,
                seed=recipe.seed,
                shard_inputs=asked.shard_inputs,
                decode=reader.text,
                provenance={
                    "teacher": teacher.key,
                    "engine": engine.name,
                    "decoding": asked.decoding.model_dump_json(),
                    "seed": str(recipe.seed),
                },
                folder=folder,
                advance=advance,
            )
        return {"statistics": PseudoTargetPool.open(folder).statistics(eos_id=reader.tokenizer.eos_token_id)}

    return bench.store.stage("pool", settings=settings, inputs={"teacher": teacher}, work=work)
