"""The stages of a recipe whose teacher stands behind an endpoint: it writes, and the student learns from what it wrote.

The order differs from that of a teacher with weights: texts are bought before anything is known of the student's
tokens, so that another student learns from the same answers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from understudy.config.model_sections import EndpointTeacher, PretrainedStudent, ScratchStudent
from understudy.config.recipe import Recipe
from understudy.errors import GenerationError, PoolError
from understudy.models.token_bytes import TokenBytes
from understudy.models.tokenizers import load_tokenizer, train_tokenizer
from understudy.pipeline.bench import Bench
from understudy.pipeline.bought import make_bought, with_references
from understudy.pipeline.course import limits
from understudy.pipeline.data import make_data, read_data, taught_inputs
from understudy.pipeline.learned import Learned, make_shipped_answers
from understudy.pipeline.networks import NETWORK, Readers, student_settings
from understudy.pipeline.readers import Reader, fitted, reader_of_checkpoint, reader_of_scratch
from understudy.pipeline.teach import make_baseline, make_student
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.pool_files import write_pool_file
from understudy.records import PseudoTarget, TaskData
from understudy.report.facts import FINE_TUNED, TEACHER
from understudy.store import Finished

SHARD = "shard-00000.parquet"


def learn_from_endpoint(bench: Bench) -> Learned:
    """The stages from the data to what student and teacher answer; those that are found are not made again.

    Raises:
        UnderstudyError: whatever the user can mend, in one sentence. What was answered, and finished stages, are kept.
    """
    recipe = bench.recipe
    stages: dict[str, Finished] = {"data": make_data(bench)}
    data = read_data(stages["data"])
    if isinstance(recipe.student, PretrainedStudent):  # what it cannot read is not bought
        bench, data = _readable(bench, data)
    stages["bought"] = make_bought(bench, data, stages["data"])
    _refuse_silence(recipe, stages["bought"])
    data = with_references(recipe, data, stages["bought"])
    if isinstance(recipe.student, ScratchStudent):
        stages["tokenizer"] = _make_tokenizer(bench, data, stages["data"], stages["bought"])
    reader = _reader(recipe, stages.get("tokenizer"))
    bench, data = fitted(bench, data, (reader,))
    begun = dict(stages)
    stages["pool"] = _make_pool(bench, data, reader, begun)
    method, readers = recipe.distil.method, Readers(reader, reader)
    shipped: dict[str, Finished] = {}
    if data.labeled:
        shipped[FINE_TUNED] = make_baseline(bench, data, readers, stages["bought"], stages.get("tokenizer"))
    taught = begun | {"teacher": stages["bought"], "pool": stages["pool"]}
    shipped[method] = make_student(bench, data, readers, taught, origin=stages["bought"])
    stages |= shipped
    own_readers = dict.fromkeys(shipped, reader)
    answers = make_shipped_answers(bench, shipped, own_readers, data)
    stages |= {f"answers_{name}": stage for name, stage in answers.items()}
    return Learned(stages, shipped, {TEACHER: stages["bought"], **answers}, own_readers, data)


def _readable(bench: Bench, data: TaskData) -> tuple[Bench, TaskData]:
    """What of the inputs a pretrained student can read, after a look whether its tokens can be told anything."""
    reader = _reader(bench.recipe, None)
    if bench.recipe.distil.kept_tokens:
        TokenBytes(reader.tokenizer)
    return fitted(bench, data, (reader,))


def _refuse_silence(recipe: Recipe, bought: Finished) -> None:
    """Some servers pass over what they do not know: without log-probabilities no distribution would be learned."""
    facts = cast(Mapping[str, int], bought.manifest.facts["bought"])
    if recipe.distil.needs_teacher_logits and not facts["with_logprobs"]:
        raise GenerationError(
            f"distil.objective compares distributions, and of {facts['texts']} texts the endpoint told no "
            "log-probabilities, though it was asked for them; use method extreme_fine_tune: the texts are kept"
        )


def _make_tokenizer(bench: Bench, data: TaskData, made: Finished, bought: Finished) -> Finished:
    """The stage of a tokenizer trained on the inputs and on what the endpoint wrote for them."""
    teacher, prompt = bench.recipe.teacher, bench.recipe.task.prompt
    assert isinstance(teacher, EndpointTeacher)  # noqa: S101 - the caller looked

    def work(folder: Path) -> Mapping[str, object]:
        examples = (*data.labeled, *data.unlabeled)
        texts = [prompt.replace("{source}", example.source) for example in examples]
        texts += [target for example in data.labeled for target in example.targets]
        tokenizer = train_tokenizer(
            [*texts, *PseudoTargetPool.open(bought.folder).texts], vocab_size=teacher.vocab_size
        )
        tokenizer.save_pretrained(folder / NETWORK)
        return {"vocab_size": len(tokenizer)}

    settings = {"vocab_size": teacher.vocab_size, "prompt": prompt}
    return bench.store.stage("tokenizer", settings=settings, inputs={"data": made, "bought": bought}, work=work)


def _reader(recipe: Recipe, tokenizer: Finished | None) -> Reader:
    """How the student reads; the endpoint reads what its own prompt shows it."""
    match recipe.student:
        case PretrainedStudent(model=name):
            return reader_of_checkpoint(recipe.task, name)
        case ScratchStudent(scratch=scratch) if tokenizer:
            return reader_of_scratch(recipe.task, scratch, load_tokenizer(str(tokenizer.folder / NETWORK)))
    raise AssertionError(recipe.student)  # the recipe refuses to prune an endpoint


def _make_pool(bench: Bench, data: TaskData, reader: Reader, begun: Mapping[str, Finished]) -> Finished:
    """The stage of the texts that are taught: those that were bought, as the student's tokens, none of them cut."""
    recipe = bench.recipe
    settings = {
        **student_settings(recipe),
        "limits": limits(recipe),
        "left": bench.left,
        "inputs": recipe.pseudo_targets.inputs,
    }

    def work(folder: Path) -> Mapping[str, object]:
        bought = PseudoTargetPool.open(begun["bought"].folder)
        rows = _taught(bought, [example.id for example in taught_inputs(recipe, data)], reader)
        if not rows:
            raise PoolError(
                f"none of the endpoint's {len(bought)} texts is within task.max_target_tokens "
                f"({reader.max_target_tokens}) for an input that is taught; raise it"
            )
        write_pool_file(folder / SHARD, rows, {**bought.provenance, "tokens": "student"})
        statistics = PseudoTargetPool.open(folder).statistics(eos_id=reader.tokenizer.eos_token_id)
        return {"statistics": statistics, "too_long": len(bought) - len(rows)}

    return bench.store.stage("pool", settings=settings, inputs=begun, work=work)


def _taught(bought: PseudoTargetPool, inputs: list[str], reader: Reader) -> list[PseudoTarget]:
    """Rows in the order of the inputs, each still numbered as it was bought, with the student's token ids."""
    known = set(bought.inputs)
    rows = [row for name in inputs if name in known for row in bought.targets_of(name)]
    tokens = reader.targets([row.text for row in rows])
    return [
        PseudoTarget(row.input_id, row.generator, row.round, row.sample, tuple(ids), row.text, row.logprob, row.copies)
        for row, ids in zip(rows, tokens, strict=True)
        if len(ids) <= reader.max_target_tokens
    ]
