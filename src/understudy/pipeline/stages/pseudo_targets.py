"""The stages of the teacher's pseudo-targets: one shard per block of inputs and range of texts, and an index.

More inputs add blocks and more texts add ranges; the shards made before are found by their own keys. Samples come in
ranges of 1, 3, 4, 4, ... texts, each generated completely, so that text k of an input is the same however many are
requested. One at a time would leave no surplus, but encodes every input once per sample: eight texts of E2E's inputs
then take 1.42 times as long as two fours, of SQuAD's 1.76 times, and in these ranges 1.21 and 1.14 times (medians of
three, 6 M parameters, one thread).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from understudy.config.decoding import DiverseBeam, KBeams, PoolDecoding, Sampling
from understudy.config.pseudo_targets import InputKind
from understudy.errors import GenerationError
from understudy.models.generated_text import counted_text, stop_ids
from understudy.models.task_tokenizer import TaskTokenizer, TextLimits
from understudy.pipeline.model_sources import FromStage, load_task_tokenizer
from understudy.pipeline.stages.conversion import ConversionStage, open_converted
from understudy.pipeline.stages.data import load_split
from understudy.pipeline.stages.examples import ExamplesStage, block_in_order
from understudy.pool.generate import generate_pool
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.pool_files import POOL_FILE
from understudy.pool.pool_index import PoolPart, write_index
from understudy.records import Example, Generated
from understudy.store import Content, Stage, WorkerContext
from understudy.store.stage import rows_key

TOGETHER = 4
"""Samples of an input that are drawn together, from the fifth on."""


@dataclass(frozen=True)
class PseudoTargetsFacts:
    """How much there is."""

    texts: int
    inputs: int
    reasoned: int = 0
    """Texts from which reasoning was removed."""
    only_reasoned: int = 0
    """Those of which nothing was left: they are no targets."""


@dataclass(frozen=True)
class PseudoTargetShardStage(Stage[PseudoTargetsFacts]):
    """Some texts of a block of inputs. Random numbers follow from the key, so they do not depend on other shards."""

    teacher: ConversionStage
    sources: Content
    """The block: its place is `<examples folder>#<split>:<start>:<end>`, in drawn order."""
    decoding: PoolDecoding
    first_text: int
    texts: int
    limits: TextLimits
    seed: int
    device: str
    compute_type: str | None = None
    """Type of the weights; None is float32."""
    name: ClassVar[str] = "pseudo_target_shard"

    def run(self, folder: Path, context: WorkerContext) -> PseudoTargetsFacts:
        """Generates the texts; the inputs are numbered within the block."""
        examples = block_examples(self.sources, context)
        tokenizer = load_task_tokenizer(FromStage(self.teacher.network), self.limits, context)
        engine = context.reuse(
            f"{self.teacher.key} on {self.device} in {self.compute_type}",
            lambda: open_converted(self.teacher, context, device=self.device, compute_type=self.compute_type),
        )
        counts = Counter[str]()

        def counted(generated: Generated) -> Generated:
            text, reasoned = counted_text(tokenizer, generated)
            counts.update(reasoned=reasoned, only_reasoned=reasoned and not text.token_ids)
            return text

        (folder / POOL_FILE).unlink(missing_ok=True)  # of an attempt whose counts were lost
        last = self.first_text + self.texts
        which = f"text {last}" if self.texts == 1 else f"texts {self.first_text + 1} to {last}"
        with context.progress.track(f"generate {which} of {len(examples)} inputs", len(examples), "input") as progress:
            generate_pool(
                engine,
                dict(zip(map(str, range(len(examples))), tokenizer.encode_sources(examples), strict=True)),
                decoding=self.decoding,
                per_input=self.texts,
                max_tokens=self.limits.max_target_tokens,
                seed=int(self.key, 16) % 2**31,
                inputs_per_file=len(examples),
                decode=tokenizer.decode,
                provenance={
                    "teacher": self.teacher.network.key,
                    "engine": engine.name,
                    "decoding": self.decoding.model_dump_json(),
                    "seed": str(self.seed),
                },
                folder=folder,
                progress=progress,
                stop_ids=stop_ids(tokenizer),
                counted=counted,
            )
        return PseudoTargetsFacts(
            self.texts * len(examples), len(examples), counts["reasoned"], counts["only_reasoned"]
        )


@dataclass(frozen=True)
class PseudoTargetsStage(Stage[PseudoTargetsFacts]):
    """All pseudo-targets of a recipe: an index of the shards, in the order of the inputs."""

    teacher: ConversionStage
    examples: ExamplesStage
    inputs: tuple[InputKind, ...]
    per_input: int
    decoding: PoolDecoding
    block_inputs: int
    """Inputs per shard: what an interruption costs at most."""
    limits: TextLimits
    seed: int
    device: str
    min_finished: float = 0.0
    """Smallest share of texts that are not empty, and of texts that have ended."""
    compute_type: str | None = None
    """Type of the weights; None is float32."""
    name: ClassVar[str] = "pseudo_targets"

    def shards(self, context: WorkerContext) -> Sequence[PseudoTargetShardStage]:
        """One stage per block of inputs and range of texts."""
        return [shard for shard, _ in self._blocks(context)]

    def run(self, folder: Path, context: WorkerContext) -> PseudoTargetsFacts:
        """Writes the index."""
        parts = [
            PoolPart(f"../{shard.folder_name}", tuple(ids), shard.first_text) for shard, ids in self._blocks(context)
        ]
        place = context.folder(self.examples)
        ids = [name for kind in self.inputs for name in load_split(place, kind).ids.to_pylist()]
        write_index(folder, parts, input_ids=ids, per_input=self.per_input)
        tokenizer = load_task_tokenizer(FromStage(self.teacher.network), self.limits, context)
        if found := useless(PseudoTargetPool.open(folder), tokenizer, self.min_finished):
            raise GenerationError(found)
        made = [context.facts(shard) for shard, _ in self._blocks(context)]
        return PseudoTargetsFacts(
            self.per_input * len(ids),
            len(ids),
            sum(one.reasoned for one in made),
            sum(one.only_reasoned for one in made),
        )

    def _blocks(self, context: WorkerContext) -> Iterator[tuple[PseudoTargetShardStage, Sequence[str]]]:
        """The shards, each with the ids of its inputs."""
        place = context.folder(self.examples)
        for kind in self.inputs:
            blocks: list[tuple[Content, Sequence[str]]] = []
            for start in range(0, len(load_split(place, kind)), self.block_inputs):
                block = block_in_order(place, kind, start, start + self.block_inputs)
                name = f"{self.examples.folder_name}#{kind}:{start}:{start + len(block)}"
                blocks.append((Content(rows_key(block.sources()), name), block.ids.to_pylist()))
            for first_text, texts in text_ranges(self.decoding, self.per_input):
                for content, ids in blocks:
                    shard = PseudoTargetShardStage(
                        self.teacher,
                        content,
                        self.decoding,
                        first_text,
                        texts,
                        self.limits,
                        self.seed,
                        self.device,
                        self.compute_type,
                    )
                    yield shard, ids


def useless(pool: PseudoTargetPool, tokenizer: TaskTokenizer, min_finished: float) -> str | None:
    """Why a student can learn nothing from a pool: too many texts are empty or unfinished. None if it can."""
    empty = [row for row, text in enumerate(pool.texts) if not text.strip()]
    if len(empty) > (1 - min_finished) * len(pool):
        return (
            f"{len(empty)} of {len(pool)} pseudo-targets are empty (the first is of input "
            f"{pool.input_ids[empty[0]]!r}): the teacher generates nothing after its source; {_remedy(tokenizer)}"
        )
    unfinished = pool.statistics(eos_id=tokenizer.tokenizer.eos_token_id)["unfinished"] or 0.0
    if unfinished > 1 - min_finished:
        return (
            f"{unfinished:.0%} of {len(pool)} pseudo-targets have not ended after task.max_target_tokens="
            f"{tokenizer.max_target_tokens} tokens; raise that limit, or {_remedy(tokenizer)}"
        )
    return None


def _remedy(tokenizer: TaskTokenizer) -> str:
    form = "task.prompt" if tokenizer.is_encoder_decoder else "teacher.template or task.prompt"
    return (
        f"set {form} to the form that the model was trained with, fine-tune it (teacher.finetune), or allow such texts "
        "with pseudo_targets.min_finished"
    )


def text_ranges(decoding: PoolDecoding, per_input: int) -> list[tuple[int, int]]:
    """First text and number of texts of each range; one beam search finds all its texts at once."""
    match decoding:
        case KBeams(beams=count) | DiverseBeam(groups=count):
            return [(0, count)]
        case Sampling():
            bounds = [0, 1, *range(TOGETHER, per_input + TOGETHER, TOGETHER)]
            return [(start, end - start) for start, end in pairwise(bounds) if start < per_input]
        case _:
            return [(0, 1)]


def block_examples(sources: Content, context: WorkerContext) -> Sequence[Example]:
    """The inputs of a block."""
    place, _, block = sources.place.partition("#")
    kind, start, end = block.split(":")
    examples = context.path(Content(sources.digest, place))
    return block_in_order(examples, "unlabeled" if kind == "unlabeled" else "labeled", int(start), int(end))
