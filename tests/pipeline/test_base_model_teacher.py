"""A base model without a chat template as the teacher: it continues demonstrations in plain text."""

from pathlib import Path

import pytest
import torch
from tests.pipeline.prompted_task import prompted_recipe, write_checkpoint, write_task
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from understudy.config.read import check_recipe
from understudy.errors import DataError
from understudy.executors.local import Local
from understudy.pipeline.build import RunStages, build_run
from understudy.pipeline.context import NETWORK, RunContext, run_context
from understudy.pipeline.stages.data import read_data
from understudy.pipeline.teacher_prompt import drawn_demonstrations, stop_text
from understudy.pipeline.training_data import source_examples
from understudy.pool.pool import PseudoTargetPool
from understudy.progress import NoProgress

TASK = "List what is ordered."


def checkpoint_with_lines(folder: Path) -> str:
    """A base model that often writes a line break: as often as the token that it writes most."""
    checkpoint = write_checkpoint(folder, "llama3", template=False)
    tokenizer, model = AutoTokenizer.from_pretrained(checkpoint), LlamaForCausalLM.from_pretrained(checkpoint)
    ids = tokenizer("has 1 lamp\n1 lamps\n\nhas 2 chair\n", return_tensors="pt")
    written = model.generate(**ids, max_new_tokens=16, do_sample=False)[0, ids["input_ids"].shape[1] :]
    with torch.no_grad():
        model.lm_head.weight[tokenizer.convert_tokens_to_ids("Ċ")] = 1.05 * model.lm_head.weight[written[4]]
    model.save_pretrained(folder)
    return checkpoint


@pytest.fixture(scope="module", params=["hf", "ctranslate2"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunStages, RunContext]:
    """The stages of a recipe, in each engine."""
    folder = tmp_path_factory.mktemp("base")
    recipe = prompted_recipe(
        write_task(folder), checkpoint_with_lines(folder / "model"), prompt="{source}", system=TASK, demonstrations=2
    )
    context = run_context(folder / "runs", NoProgress())
    return build_run(check_recipe({**recipe, "engine": request.param}), context), context


def test_its_texts_end_where_the_next_demonstration_would_begin(base: tuple[RunStages, RunContext]) -> None:
    """As `generate` of transformers stops at a line break after the same text; most of them end."""
    stages, context = base
    assert stages.scores.pool is not None
    context.store.get(stages.scores.pool, Local(), context)
    data = source_examples(read_data(context.folder(stages.task.examples)))
    sources = {example.id: example.source for example in data}
    teacher = context.folder(stages.systems.teacher.network) / NETWORK  # type: ignore[arg-type]
    tokenizer, model = AutoTokenizer.from_pretrained(teacher), AutoModelForCausalLM.from_pretrained(teacher)
    drawn = drawn_demonstrations([one for one in data if one.targets], 2, stages.task.recipe.seed)
    pool = PseudoTargetPool.open(context.folder(stages.scores.pool))
    finished = 0
    for row in pool:
        shown = [pair for pair in drawn if pair[0] != sources[row.input_id]][:2]
        text = f"{TASK}\n\n" + "".join(f"{source}\n{target}\n\n" for source, target in shown)
        ids = tokenizer(f"{text}{sources[row.input_id]}\n", return_tensors="pt")
        output = model.generate(**ids, max_new_tokens=16, do_sample=False, stop_strings=["\n"], tokenizer=tokenizer)
        written = tokenizer.decode(output[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        assert row.text == (written.partition("\n")[0].rstrip() if "\n" in written else written)
        assert (row.token_ids[-1] == tokenizer.eos_token_id) == ("\n" in written)
        finished += "\n" in written
    assert finished > 0


def test_the_pruned_student_learns_the_task_without_the_demonstrations(base: tuple[RunStages, RunContext]) -> None:
    """It reads the prompt of the task in the same plain form."""
    stages, _ = base
    assert stages.systems.student.teacher_limits.stop == "\n"  # type: ignore[attr-defined]
    limits = stages.systems.student.settings.limits  # type: ignore[attr-defined]
    assert (limits.prompt, limits.system, limits.demonstrations, limits.stop) == ("Say it: {source}", None, None, None)


def test_the_stop_text_is_what_no_target_holds() -> None:
    """A line break, or a blank line if targets have several lines; blank lines within targets are refused."""
    assert stop_text([("a", "b"), ("c", "d")]) == "\n"
    assert stop_text([("a", "b\nb"), ("c", "d")]) == "\n\n"
    with pytest.raises(DataError, match=r"blank line in its target 'b\\n\\nb'"):
        stop_text([("a", "b\n\nb")])
