"""What is checked before anything costs more than seconds: each check with a right input and a failing one."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.api_teacher.server import RequestLog
from tests.pipeline.api_teacher_recipe import recipe_of, serving
from tests.sizes import small
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from understudy.config.read import check_recipe, merge
from understudy.config.training import Training
from understudy.demo.forecast import forecast_task
from understudy.errors import ConfigError, UnderstudyError
from understudy.models.checkpoint import save_network
from understudy.models.scratch import build_network
from understudy.models.task_tokenizer import TextLimits
from understudy.models.tokenizers import train_tokenizer
from understudy.pipeline.build import build_run
from understudy.pipeline.context import run_context
from understudy.pipeline.model_sources import TokenizerSource, checkpoint_content
from understudy.pipeline.preflight import Prepared, Resources, check, resources, warm_up
from understudy.pipeline.run import Run, run
from understudy.pipeline.stages.network_check import Finding
from understudy.pipeline.stages.training_steps import StepsFacts, TrainingStepsStage
from understudy.progress import NoProgress
from understudy.store import Content
from understudy.store.manifest import read_manifest

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of the embedded task."""
    data = forecast_task(labeled=24, unlabeled=0, dev=6, test=8, references=2, seed=13)
    texts = [one for e in (*data.labeled, *data.dev, *data.test) for one in (e.source, *e.targets)]
    return train_tokenizer(texts, vocab_size=300)


@pytest.fixture
def checkpoint(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    """A BART that can be a student of the embedded task."""
    save_network(build_network(small(), tokenizer, max_positions=400, seed=1), tokenizer, tmp_path / "model")
    return tmp_path / "model"


def with_student(tiny: dict[str, Any], model: Path, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - a recipe's
    """The tiny recipe with a checkpoint as its student, and cross-entropy, which needs no shared tokens."""
    student = {"model": str(model), "finetune": tiny["student"]["finetune"]}
    distil = {"method": "sequence_level"}
    return {**copy.deepcopy(tiny), "student": student, "distil": distil, "pseudo_targets": {}, **changes}


def severities(findings: list[Finding]) -> dict[str, str]:
    """Check -> its severity."""
    return {one.check: one.severity for one in findings}


def folders(out: Path) -> dict[str, int]:
    """The stages in a store, with when their manifests were written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in (out / "store").glob("*/manifest.json")}


def test_a_right_recipe_passes_and_its_checks_are_made_once(tiny: dict[str, Any], tmp_path: Path) -> None:
    """The second time no stage is made; nothing is trained either time."""
    recipe = check_recipe(tiny)
    first = check(recipe, out=tmp_path)
    made = folders(tmp_path)

    assert set(severities(first).values()) == {"ok"}
    assert {name.rpartition("-")[0] for name in made} == {
        "data", "tokenizer", "examples", "metric_choice", "network_check", "text_check", "training_steps"
    }  # fmt: skip
    again = check(recipe, out=tmp_path)
    assert [one for one in again if one.check != "disk"] == [
        one for one in first if one.check != "disk"
    ]  # in use by others
    assert folders(tmp_path) == made


def test_the_steps_that_are_counted_are_those_that_are_made(
    tiny: dict[str, Any], finished: Run, tmp_path: Path
) -> None:
    """For gold exactly; for a distillation, whose texts do not exist yet, within a factor of two."""
    made = {
        manifest.stage: int(manifest.facts["steps"])
        for manifest in map(read_manifest, finished.stages.values())
        if manifest.stage in {"teacher", "fine_tuned", "student", "final_finetune"}
    }
    counted = {
        one.check.removeprefix("steps of "): int(one.finding.split()[0])
        for one in check(check_recipe(tiny), out=tmp_path)
        if one.check.startswith("steps of")
    }

    assert counted.keys() == made.keys()
    for name, steps in made.items():
        assert counted[name] == steps or (name == "student" and steps / 2 <= counted[name] <= steps * 2)


def test_fewer_steps_than_warm_up_are_refused_before_anything_is_trained(tiny: dict[str, Any], tmp_path: Path) -> None:
    """The message has both numbers, the setting and a value; the store has no network."""
    changed = merge(copy.deepcopy(tiny), {"training": {"warmup_steps": 100}})

    with pytest.raises(ConfigError, match=r"steps of student: \d+ steps, warm-up 100.*training\.warmup_steps=\d"):
        run(check_recipe(changed), out=tmp_path)
    assert not [path for path in (tmp_path / "store").iterdir() if path.name.startswith(("teacher-", "student-"))]


@pytest.mark.parametrize(("steps", "severity"), [(24, "error"), (100, "warning"), (199, "warning"), (200, "ok")])
def test_a_training_is_longer_than_its_warm_up(steps: int, severity: str) -> None:
    """Below the warm-up the learning rate never reaches its peak; below twice of it most is warm-up."""
    nothing = Content("", "")
    stage = TrainingStepsStage(
        "student", TokenizerSource(nothing), nothing, (), TextLimits("{source}", 1, 1), Training(), None
    )
    found = warm_up(stage, StepsFacts(steps, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0))

    assert found.severity == severity
    assert found.finding.startswith(f"{steps} steps, warm-up 100")


def damage(file: str) -> Change:
    """Removes a file of a checkpoint."""
    return lambda folder: (folder / file).unlink()


def nan_weights(folder: Path) -> None:
    """The first weight is not a number."""
    weights = load_file(folder / "model.safetensors")
    weights["model.shared.weight"][:] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def more_tokens_than_rows(folder: Path) -> None:
    """The tokenizer has three tokens that the embeddings lack."""
    loaded = PreTrainedTokenizerFast.from_pretrained(folder)
    loaded.add_tokens(["<a>", "<b>", "<c>"])
    loaded.save_pretrained(folder)


def no_end(folder: Path) -> None:
    """The tokenizer has no end-of-sequence token."""
    path = folder / "tokenizer_config.json"
    path.write_text(path.read_text().replace('"eos_token"', '"other"'))


def no_start(folder: Path) -> None:
    """Neither the config nor the generation settings, which stand in for it, say which token starts a target."""
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        path.write_text(path.read_text().replace('"decoder_start_token_id": 1', '"decoder_start_token_id": null'))


def small_letters(folder: Path) -> None:
    """The tokenizer knows no capitals."""
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"type": "NFC"', '"type": "Lowercase"'))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nan_weights, r"log-probability nan.*another checkpoint"),
        (more_tokens_than_rows, r"\d+ tokens and the model \d+ embeddings"),
        (no_end, r"end-of-sequence"),
        (no_start, r"decoder_start_token_id"),
    ],
)
def test_a_student_that_cannot_be_used_is_refused_before_the_teacher_is_trained(
    tiny: dict[str, Any], checkpoint: Path, tmp_path: Path, change: Change, message: str
) -> None:
    """One sentence with what was found; the unchanged checkpoint passes."""
    recipe = check_recipe(with_student(tiny, checkpoint))
    assert "error" not in severities(check(recipe, out=tmp_path)).values()
    change(checkpoint)

    with pytest.raises(UnderstudyError, match=message):
        run(recipe, out=tmp_path / "runs")
    assert not list((tmp_path / "runs" / "store").glob("teacher-*"))


def test_targets_that_a_tokenizer_changes_are_a_loud_warning(
    tiny: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    """With their number and an example; a run goes on, unless it is strict."""
    small_letters(checkpoint)
    found = check(check_recipe(with_student(tiny, checkpoint)), out=tmp_path)
    (own,) = [one for one in found if one.check == "student target texts"]

    assert own.severity == "warning"
    assert re.match(r"24 of 24 targets are another text after encoding and decoding.*becomes", own.finding)


def llama(tokenizer: PreTrainedTokenizerFast, folder: Path, activation: str) -> Path:
    """A Llama with an activation that a converter may not know, and weights that show it."""
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        hidden_act=activation, initializer_range=0.5, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    save_network(LlamaForCausalLM(config), tokenizer, folder)
    return folder


def test_a_conversion_that_changes_texts_is_a_warning_under_auto_and_an_error_where_it_is_requested(
    tiny: dict[str, Any], tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """The remedy is engine hf; with the usual activation both pass."""
    for activation, engine, severity in (
        ("gelu", "auto", "warning"),
        ("gelu", "ctranslate2", "error"),
        ("silu", "ctranslate2", "ok"),
    ):
        model = llama(tokenizer, tmp_path / activation, activation)
        found = check(check_recipe(with_student(tiny, model, engine=engine)), out=tmp_path / "runs")
        (own,) = [one for one in found if "student" in one.check and "network" in one.check]
        assert (own.severity, own.severity == "ok" or "hf" in own.finding + own.remedy) == (severity, True)


def test_int8_is_compared_but_may_differ_and_a_teacher_without_it_is_refused(
    tiny: dict[str, Any], tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """The teacher of scratch differs by the rounding; one that only transformers can run has no int8."""
    int8 = {**copy.deepcopy(tiny), "distil": {"method": "sequence_level"}, "pseudo_targets": {"compute_type": "int8"}}
    (own,) = [one for one in check(check_recipe(int8), out=tmp_path / "runs") if one.check == "teacher network"]
    assert own.severity == "ok"
    assert (found := re.search(r"in int8 they differ by up to ([0-9e.-]+) nats", own.finding))
    assert float(found[1]) > 0

    teacher = {"model": str(llama(tokenizer, tmp_path / "gelu", "gelu")), "finetune": tiny["teacher"]["finetune"]}
    refused = check(check_recipe({**int8, "teacher": teacher}), out=tmp_path / "runs")
    (own,) = [one for one in refused if "compute_type" in one.finding]
    assert own.severity == "error"
    assert "engine 'hf'" in own.finding


def test_an_api_teacher_is_asked_nothing_while_the_student_cannot_be_used(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by `run`, which refuses, nor by `check`, which lists the error."""
    monkeypatch.setenv("SOME_KEY", "any")
    nan_weights(checkpoint)
    log = RequestLog(share=0.0)
    with serving(log) as address:
        plain = recipe_of(tmp_path, address, student={"model": str(checkpoint)}, distil={"method": "extreme_fine_tune"})
        with pytest.raises(UnderstudyError, match="log-probability nan"):
            run(check_recipe(plain), out=tmp_path / "runs")
        found = check(check_recipe(plain), out=tmp_path / "runs")

    assert [one.severity for one in found if "network" in one.check] == ["error"]
    assert log.requests == {}


def test_content_of_a_checkpoint_decides_whether_it_is_checked_again(
    tiny: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    """The same files under another name were checked; other weights were not."""
    check(check_recipe(with_student(tiny, checkpoint)), out=tmp_path / "runs")
    before = set(folders(tmp_path / "runs"))
    moved = checkpoint.rename(tmp_path / "moved")
    check(check_recipe(with_student(tiny, moved)), out=tmp_path / "runs")
    assert set(folders(tmp_path / "runs")) == before

    assert checkpoint_content(str(moved)).digest
    save_network(
        build_network(small(), PreTrainedTokenizerFast.from_pretrained(moved), max_positions=400, seed=2),
        PreTrainedTokenizerFast.from_pretrained(moved),
        moved,
    )
    check(check_recipe(with_student(tiny, moved)), out=tmp_path / "runs")
    assert {name.rpartition("-")[0] for name in set(folders(tmp_path / "runs")) - before} >= {"network_check"}


@pytest.mark.parametrize(
    ("disk", "memory", "severity"),
    [(1e12, 1e12, ["ok", "ok"]), (1.0, 1e12, ["error", "ok"]), (1e12, 1e9, ["ok", "warning"]), (0, 0, ["error"] * 2)],
)
def test_disk_and_memory_are_compared_with_the_need(
    tiny: dict[str, Any], tmp_path: Path, disk: float, memory: float, severity: list[str]
) -> None:
    """A need above what is there is a warning, more than twice of it an error; both numbers are shown."""
    context = run_context(tmp_path, NoProgress())
    stages = build_run(check_recipe(tiny), context)
    found = resources(Prepared(stages.task, stages.scores, context), Resources(disk, memory))

    assert [one.severity for one in found] == severity
    assert all(re.search(r"about [\d,]+ MB are needed, [\d,]+ MB are there", one.finding) for one in found)
