import re
from pathlib import Path
from typing import Any

import pytest
from tests.sizes import small
from transformers import AutoConfig
from understudy.pipeline.lessons import _teacher_targets
from understudy.pipeline.networks import Readers
from understudy.pipeline.readers import reader_of_checkpoint

from understudy.config.read import check_recipe, merge
from understudy.errors import ModelError, VocabularyError
from understudy.models.checkpoint import load_network, save_network
from understudy.models.scratch import build_network
from understudy.models.tokenizers import train_tokenizer
from understudy.pipeline.run import Run, run
from understudy.pool import PseudoTargetPool, write_pool_file
from understudy.progress import NoProgress
from understudy.records import Example, PseudoTarget

CAUSAL = {"architecture": "gpt2", "width": 16, "encoder_layers": 0, "decoder_layers": 2, "heads": 2, "feed_forward": 16}
CHEAP = {"final_finetune": None}


def variant(tiny: dict[str, Any], name: str, **changes: Any) -> Any:  # noqa: ANN401 - plain data
    """The tiny recipe with some sections changed; networks are replaced whole."""
    plain = {key: value for key, value in tiny.items() if key not in {"teacher", "student"} or key not in changes}
    return merge({**plain, "distil": {**tiny["distil"], **CHEAP}}, {"name": name, **changes})


def test_a_decoder_only_teacher_teaches_a_pruned_student(tiny: dict[str, Any], tmp_path: Path) -> None:
    """GPT-2 with two layers, and itself with one, by Joint-Teaching; the student reloads as any checkpoint.

    Its size and its latency are told before it learns.
    """

    class Hearing(NoProgress):
        def log(self, message: str) -> None:
            heard.append(message)

    heard: list[str] = []
    teacher = {**tiny["teacher"], "scratch": CAUSAL}
    student = {"prune": {"decoder_layers": 1}, "finetune": tiny["student"]["finetune"]}
    recipe = check_recipe(variant(tiny, "causal", teacher=teacher, student=student))
    done = run(recipe, out=tmp_path, progress=Hearing())
    told = r"keeps 1 of 2 decoder layers: .* M of .* M parameters, predicted latency [\d.]+ ms of the teacher's [\d.]+ "
    assert any(re.search(told, words) for words in heard), heard
    config = AutoConfig.from_pretrained(done.folder / "student")

    assert (config.model_type, config.n_layer) == ("gpt2", 1)
    assert done.facts["systems"][2]["scores"].keys() == done.facts["systems"][0]["scores"].keys()


def test_a_teacher_of_one_family_teaches_a_student_of_another(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Each reads the source as its family does; the distributions are compared all the same."""
    student = {"scratch": CAUSAL, "finetune": tiny["student"]["finetune"]}
    done = run(check_recipe(variant(tiny, "families", student=student)), out=tmp_path)

    assert AutoConfig.from_pretrained(done.folder / "teacher" / "network").model_type == "bart"
    assert AutoConfig.from_pretrained(done.folder / "student").model_type == "gpt2"


def test_relations_of_two_kinds_of_network_are_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    """Before anything is trained."""
    student = {"scratch": CAUSAL, "finetune": tiny["student"]["finetune"]}
    recipe = variant(
        tiny, "kinds", student=student, pseudo_targets={"per_input": 1}, distil={"method": "attention_relations_kd"}
    )

    with pytest.raises(ModelError, match="teacher is an encoder-decoder and the student decoder-only; use two of one"):
        run(check_recipe(recipe), out=tmp_path)
    assert not list((tmp_path / "store").glob("teacher-*"))


@pytest.fixture
def checkpoints(tmp_path: Path) -> dict[str, str]:
    """Two checkpoints in the hub's layout, whose tokenizers are not the same."""
    folders = {}
    for name, text in {"big": "Falford Tuesday temp rain winds", "small": "Ølsund Sunday snow überall"}.items():
        tokenizer = train_tokenizer([text] * 3, vocab_size=120)
        network = build_network(
            small(encoder_layers=2, decoder_layers=2, dropout=0.1),
            tokenizer,
            max_positions=500,
            seed=1,
        )
        save_network(network, tokenizer, tmp_path / name)
        folders[name] = str(tmp_path / name)
    return folders


def test_a_student_with_other_tokens_learns_the_text(
    tiny: dict[str, Any], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    """Sequence-level distillation reads the pool's text anew with the student's tokenizer; the teacher is as it was."""
    recipe = variant(
        tiny,
        "text",
        task={"max_source_tokens": 300, "max_target_tokens": 300},
        teacher={"model": checkpoints["big"]},
        student={"model": checkpoints["small"], "finetune": tiny["student"]["finetune"]},
        distil={"method": "sequence_level"},
        pseudo_targets={"per_input": 1},
    )
    done = run(check_recipe(recipe), out=tmp_path / "runs")
    untouched, used = load_network(checkpoints["big"]), load_network(str(done.folder / "teacher" / "network"))

    assert all((a == b).all() for a, b in zip(untouched.parameters(), used.parameters(), strict=True))
    assert [system["name"] for system in done.facts["systems"]][2] == "sequence_level"


def test_a_text_that_the_limit_cut_has_no_end_for_other_tokens_either(
    tiny: dict[str, Any], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    """Read anew it would get one, and the student would learn to stop in mid-sentence."""
    recipe = check_recipe(
        variant(tiny, "cut", teacher={"model": checkpoints["big"]}, student={"model": checkpoints["small"]})
    )
    readers = Readers(*(reader_of_checkpoint(recipe.task, checkpoints[name]) for name in ("big", "small")))
    (whole,) = readers.teacher.targets(["rain winds"])
    rows = [
        PseudoTarget("a", "teacher", 0, sample, tuple(token_ids), "rain winds", -1.0)
        for sample, token_ids in enumerate((whole, whole[:-1]))
    ]
    write_pool_file(tmp_path / "shard.parquet", rows, {"seed": "1"})
    taught = _teacher_targets([Example("a", "x")], readers, PseudoTargetPool.open(tmp_path)).texts
    ended, cut = (taught[row].tolist() for row in range(2))

    assert ended[-1] == readers.student.tokenizer.eos_token_id
    assert cut == ended[:-1]


def test_a_student_with_other_tokens_cannot_match_distributions(
    tiny: dict[str, Any], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    """Refused before a network is loaded, with the objective that would work."""
    recipe = variant(tiny, "kl", teacher={"model": checkpoints["big"]}, student={"model": checkpoints["small"]})

    with pytest.raises(VocabularyError, match="cross_entropy"):
        run(check_recipe(recipe), out=tmp_path / "runs")


def test_more_unlabelled_inputs_leave_the_teacher_the_baseline_and_the_texts(
    tiny: dict[str, Any], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    """A task that grew by inputs has the same pretrained teacher, which writes for the new inputs alone."""
    lengths = {"max_source_tokens": 300, "max_target_tokens": 300}

    def grown(unlabeled: int) -> Run:
        recipe = variant(
            tiny,
            f"inputs_{unlabeled}",
            task={"forecast": {**tiny["task"]["forecast"], "unlabeled": unlabeled}, **lengths},
            teacher={"model": checkpoints["big"], "labels": "labeled", "finetune": tiny["teacher"]["finetune"]},
            distil={"method": "sequence_level"},
            pseudo_targets={"per_input": 1, "inputs": ["labeled", "unlabeled"]},
        )
        return run(check_recipe(recipe), out=tmp_path / "runs")

    before = grown(12)
    store = tmp_path / "runs" / "store"
    texts = set(store.glob("texts-*"))
    after = grown(40)
    (new,) = set(store.glob("texts-*")) - texts

    assert after.stages["data"].key != before.stages["data"].key
    for name in ("teacher", "fine_tuned"):
        assert (after.stages[name].key, after.stages[name].reused) == (before.stages[name].key, True)
    assert len(PseudoTargetPool.open(new).inputs) == 40 - 12


def test_a_student_from_scratch_is_known_by_the_tokens_it_reads(
    tiny: dict[str, Any], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    """They are its pretrained teacher's: with another teacher its fine-tuned self is another one too."""
    keys = set()
    for name, checkpoint in checkpoints.items():
        recipe = variant(
            tiny,
            name,
            task={"max_source_tokens": 300, "max_target_tokens": 300},
            teacher={"model": checkpoint},
            distil={"method": "fine_tune"},
            pseudo_targets={"per_input": 1},
        )
        keys.add(run(check_recipe(recipe), out=tmp_path / "runs").stages["fine_tuned"].key)

    assert len(keys) == len(checkpoints)


def test_a_teacher_that_stays_the_same_answers_another_test_anew(
    tiny: dict[str, Any], checkpoints: dict[str, str], tmp_path: Path
) -> None:
    """It is known by what it learned, its answers by what it was asked and is compared with."""
    made = []
    for references in (2, 3):
        recipe = variant(
            tiny,
            f"references_{references}",
            task={
                "forecast": {**tiny["task"]["forecast"], "references": references},
                "max_source_tokens": 300,
                "max_target_tokens": 300,
            },
            teacher={"model": checkpoints["big"]},
            distil={"method": "fine_tune"},
            pseudo_targets={"per_input": 1},
        )
        made.append(run(check_recipe(recipe), out=tmp_path / "runs").stages)

    assert made[0]["teacher"].key == made[1]["teacher"].key
    assert made[0]["answers_teacher"].key != made[1]["answers_teacher"].key
