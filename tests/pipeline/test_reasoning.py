"""Reasoning of a local teacher: removed from its pseudo-targets, counted, and said where it changes what is learned."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.chat_templates import QWEN_2_5, QWEN_3, chat_tokenizer
from tests.pipeline.prompted_task import prompted_recipe, write_checkpoint, write_task
from tokenizers import AddedToken
from transformers import AutoTokenizer, LlamaForCausalLM

from understudy.config.distil import Shares, StudentSampling
from understudy.config.read import check_recipe, merge
from understudy.errors import GenerationError
from understudy.evaluation.predictions import read_predictions
from understudy.executors.local import Local
from understudy.models.task_tokenizer import TaskTokenizer
from understudy.pipeline.build import RunStages, build_run
from understudy.pipeline.context import RunContext, run_context
from understudy.pipeline.preflight import Prepared, reasoning
from understudy.pipeline.stages.report_parts import reasoning_facts
from understudy.pipeline.training_data import (
    MixtureSettings,
    TaskTokenizers,
    distillation_mixture,
    has_text,
    pool_targets,
)
from understudy.pool.pool import PseudoTargetPool
from understudy.pool.pool_files import write_pool_file
from understudy.progress import NoProgress
from understudy.records import Example, PseudoTarget, TaskData
from understudy.report.tables import pool_table
from understudy.store import Stage


def built(folder: Path, checkpoint: str, **settings: Any) -> tuple[RunStages, RunContext]:  # noqa: ANN401 - of a recipe
    """The stages of a recipe for a teacher that is used as it is."""
    context = run_context(folder / "runs", NoProgress())
    return build_run(check_recipe(merge(prompted_recipe(write_task(folder), checkpoint), settings)), context), context


def writing(folder: Path, *tokens: str) -> str:
    """A checkpoint that writes these tokens one after another, whatever its source, and then ends."""
    checkpoint = write_checkpoint(folder)
    tokenizer, model = AutoTokenizer.from_pretrained(checkpoint), LlamaForCausalLM.from_pretrained(checkpoint)
    tokenizer.add_tokens([AddedToken("<think>"), AddedToken("</think>")])  # as Qwen 3: no special tokens
    model.resize_token_embeddings(len(tokenizer))
    before, *others = [tokenizer.convert_tokens_to_ids(token) for token in ("Ċ", *tokens)]
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embeddings = torch.nn.functional.normalize(torch.randn(len(tokenizer), 16), dim=1)
        model.model.embed_tokens.weight.copy_(embeddings)
        model.lm_head.weight.zero_()
        for token_id in (*others, tokenizer.eos_token_id):
            model.lm_head.weight[token_id] += 20 * embeddings[before]
            before = token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return checkpoint


@pytest.fixture(scope="module")
def reasoned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunStages, RunContext]:
    """A teacher that reasons before each answer."""
    folder = tmp_path_factory.mktemp("reasoned")
    return folder, *built(folder, writing(folder / "model", "<think>", "t", "</think>", "l", "a"))


def made(stage: Stage[Any] | None, context: RunContext) -> Path:
    """The folder of a stage, with all that it needs."""
    assert stage is not None
    context.store.get(stage, Local(), context)
    return context.folder(stage)


def test_reasoning_is_removed_from_texts_and_predictions_and_counted(
    reasoned: tuple[Path, RunStages, RunContext],
) -> None:
    """The facts of the stage and the report say of how many texts."""
    _, stages, context = reasoned
    pool = PseudoTargetPool.open(made(stages.scores.pool, context))
    assert set(pool.texts) == {"la"}
    assert reasoning_facts(stages.scores.pool, context) == {"reasoned": 13, "only_reasoned": 0}
    shown = "\n".join(map(str, pool_table({"reasoned": 13, "only_reasoned": 1}).rows))
    assert "Reasoning removed from texts" in shown
    assert "only reasoning, not used" in shown
    predictions = read_predictions(made(stages.systems.teacher.predictions, context) / "test.jsonl")
    assert {one.text for one in predictions} == {"la"}


def test_reasoning_is_kept_where_the_task_has_it(reasoned: tuple[Path, RunStages, RunContext], tmp_path: Path) -> None:
    """`task.keep_reasoning` is in the keys of what is generated."""
    folder, stages, _ = reasoned
    kept, context = built(tmp_path, str(folder / "model"), task={"keep_reasoning": True})

    assert set(PseudoTargetPool.open(made(kept.scores.pool, context)).texts) == {"<think>t</think>la"}
    assert kept.scores.pool.key != stages.scores.pool.key  # type: ignore[union-attr]
    assert reasoning_facts(kept.scores.pool, context) == {}


def test_a_pool_of_reasoning_alone_is_refused(tmp_path: Path) -> None:
    """Each of its texts is empty."""
    checkpoint = writing(tmp_path / "model", "<think>", "t")
    stages, context = built(tmp_path, checkpoint, pseudo_targets={"min_finished": 0.5})

    with pytest.raises(GenerationError, match="13 of 13 pseudo-targets are empty"):
        made(stages.scores.pool, context)


def test_a_text_that_was_only_reasoning_is_no_target(tmp_path: Path) -> None:
    """Other texts of the input are; an input without any is left out of the mixture."""
    reads = TaskTokenizer(chat_tokenizer("qwen3"), False, "{source}", 64, 64)
    (row,) = reads.encode_targets(["a lamp"])
    rows = [("a", 0, ()), ("a", 1, tuple(row)), ("b", 0, ())]
    targets = [PseudoTarget(name, "teacher", 0, sample, ids, reads.decode(ids), -1.0) for name, sample, ids in rows]
    write_pool_file(tmp_path / "pool-00000.parquet", targets, {"seed": "1"})
    pool = PseudoTargetPool.open(tmp_path)
    examples = [Example("a", "x"), Example("b", "y"), Example("c", "z", ("a lamp",))]
    own = pool_targets(examples, TaskTokenizers(reads, reads), pool)
    data = TaskData(labeled=examples[2:], unlabeled=examples[:2], dev=(), test=())
    settings = MixtureSettings(Shares(gold=0, teacher=1, student=0), ("unlabeled",), StudentSampling(), False)
    mixture = distillation_mixture(settings, data, TaskTokenizers(reads, reads), pool, targets_per_source=1, epochs=1)

    assert has_text(pool).tolist() == [False, True, False]
    assert own.counts.tolist() == [1, 0, 0]
    assert [own.texts[index].tolist() for index in range(len(own.texts))] == [row]
    assert mixture.inputs.tolist() == [1]  # the labeled example is the first


R1 = QWEN_2_5.replace("<|im_start|>assistant\\n' }}{%- endif %}", "<|im_start|>assistant\\n<think>\\n' }}{%- endif %}")


@pytest.mark.parametrize(
    ("template", "objective", "warned"),
    [(R1, "forward_kl", True), (R1, "cross_entropy", False), (QWEN_3, "forward_kl", False)],
)
def test_log_probabilities_without_the_reasoning_are_a_warning(
    template: str, objective: str, *, warned: bool, tmp_path: Path
) -> None:
    """Of a teacher that always reasons: its distributions after the prompt are not those of its answers."""
    tokenizer = chat_tokenizer("qwen3")
    checkpoint = write_checkpoint(tmp_path / "model")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(checkpoint)
    settings = {"max_source_tokens": 120}
    distil = {"method": "logits_pt" if objective == "forward_kl" else "sequence_level"}
    stages, context = built(tmp_path, checkpoint, task=settings, distil=distil)
    found = [one.check for one in reasoning(Prepared(stages.task, stages.scores, context))]

    assert R1 != QWEN_2_5
    assert found == (["teacher reasoning"] if warned else [])


def test_gold_with_reasoning_is_a_warning_unless_it_is_kept(tmp_path: Path) -> None:
    """Generated texts would never hold what the references do."""
    paths, checkpoint = write_task(tmp_path), write_checkpoint(tmp_path / "model")
    labeled = Path(paths["labeled"])
    labeled.write_text(labeled.read_text().replace('"target": "', '"target": "<think>t</think>'))
    for keep in (False, True):
        task = {"keep_reasoning": keep, "max_target_tokens": 40}
        recipe = check_recipe(merge(prompted_recipe(paths, checkpoint), {"task": task}))
        context = run_context(tmp_path / "runs", NoProgress())
        stages = build_run(recipe, context)
        found = [one.check for one in reasoning(Prepared(stages.task, stages.scores, context))]
        assert found == ([] if keep else ["gold reasoning"])
