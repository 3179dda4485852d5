"""Whatever is wrong with what a user gave: exit code 1 and one sentence that says where and what to do."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.sizes import small

from understudy.config.model_sections import Architecture
from understudy.models.checkpoint import save_network
from understudy.models.scratch import build_network
from understudy.models.tokenizers import train_tokenizer

Command = Callable[..., tuple[int, str, str]]


def refused(understudy: Command, project: Path, *more: str) -> str:
    """The sentence with which a run of the project is refused."""
    code, printed, complained = understudy("run", project / "recipe.yaml", "--out", project / "runs", "--quiet", *more)

    assert code == 1
    assert not printed
    assert complained.startswith("understudy: ")
    assert "Traceback" not in complained
    return complained


def test_a_malformed_line_is_named_by_its_number(understudy: Command, project: Path) -> None:
    """Line 7 of the file, and what to do with it."""
    rows = (project / "train.jsonl").read_text().splitlines()
    rows[6] = '{"id": "r6", "source": "record 6", "target": '
    (project / "train.jsonl").write_text("\n".join(rows) + "\n")

    assert re.search(r"train\.jsonl,? line 7", refused(understudy, project))


def test_an_empty_target_is_refused(understudy: Command, project: Path, lines: list[dict[str, Any]]) -> None:
    """White space is no target."""
    lines[2]["target"] = "  "
    (project / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))

    sentence = refused(understudy, project)

    assert re.search(r"train\.jsonl,? line 3", sentence)
    assert "'target' is empty" in sentence


def test_a_missing_column_is_answered_with_those_found(understudy: Command, project: Path) -> None:
    """And with the setting that names the column."""
    (project / "train.jsonl").write_text('{"id": "1", "text": "a", "target": "b"}\n')

    sentence = refused(understudy, project)

    assert "no 'source', found: id, text, target" in sentence
    assert "task.fields.source" in sentence


def test_an_unknown_key_is_answered_with_the_nearest(understudy: Command, project: Path) -> None:
    """A typo in a recipe does not pass for a default."""
    sentence = refused(understudy, project, "--set", "training.learning_rat=1e-4")

    assert "training.learning_rat: unknown key; did you mean 'learning_rate'?" in sentence


def test_a_source_over_the_limit_is_not_cut(understudy: Command, project: Path) -> None:
    """The example, its length, the limit and both ways out."""
    sentence = refused(understudy, project, "--set", "task.max_source_tokens=3")

    assert re.search(r"the source of \w+ example '\w+' has \d+ tokens and task\.max_source_tokens is 3", sentence)
    assert "Raise task.max_source_tokens" in sentence


def test_long_training_inputs_can_be_dropped_but_test_inputs_cannot(understudy: Command, project: Path) -> None:
    """A score leaves nobody out."""
    sentence = refused(understudy, project, "--set", "task.max_source_tokens=3", "--set", "task.long_sources=drop")

    assert re.search(r"the source of (dev|test) example", sentence)
    assert "long_sources" not in sentence


def test_a_reference_that_no_place_is_left_for_is_told_before_anything_learns(
    understudy: Command, project: Path
) -> None:
    """Only where its likelihood is asked for; the limit and both ways out."""
    with (project / "test.jsonl").open("a") as file:
        file.write(json.dumps({"id": "long", "source": "Held out T 99", "target": "word " * 400}) + "\n")

    sentence = refused(understudy, project)

    assert re.search(r"test example 'long' has a reference of \d+ tokens, and .* has \d+ positions", sentence)
    assert re.search(r"remove nll from task\.metrics, .* raise task\.max_target_tokens to \d+", sentence)
    assert not list((project / "runs" / "store").glob("teacher-*"))


@pytest.mark.parametrize("architecture", ["bart", "gpt2"])
def test_a_source_that_a_pretrained_network_has_no_places_for_is_refused(
    understudy: Command, project: Path, architecture: Architecture
) -> None:
    """Before anything learns, with the limit under which a training example is left out."""
    tokenizer = train_tokenizer(["record held out d t 0 1 2 3 the text of"] * 3, vocab_size=120)
    network = build_network(small(architecture, width=8, feed_forward=8), tokenizer, max_positions=80, seed=0)
    save_network(network, tokenizer, project / "network")
    recipe = yaml.safe_load((project / "recipe.yaml").read_text())
    recipe |= {"teacher": {"model": "network"}, "student": {"model": "network"}}
    recipe["task"] |= {"max_target_tokens": 20, "max_source_tokens": 500}
    (project / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with (project / "train.jsonl").open("a") as file:
        file.write(json.dumps({"id": "long", "source": "record " * 90, "target": "the text"}) + "\n")

    sentence = refused(understudy, project)

    room = {"bart": 80, "gpt2": 61}[architecture]
    assert re.search(r"source of labeled example 'long' has \d+ tokens and .* has 80 positions", sentence)
    assert f"task.max_source_tokens={room} and task.long_sources=drop" in sentence
    assert not list((project / "runs" / "store").glob("teacher-*"))


def test_test_inputs_in_train_are_refused(understudy: Command, project: Path) -> None:
    """With both ways to go on."""
    with (project / "train.jsonl").open("a") as file:
        file.write('{"id": "leak", "source": "Held out T 1", "target": "known"}\n')

    sentence = refused(understudy, project)

    assert "1 of test in labeled" in sentence
    assert "drop_from_train" in sentence


def test_different_token_maps_are_refused_under_forward_kl(understudy: Command, project: Path) -> None:
    """Before any network is loaded; the objective that would work is named."""
    for name, words in {"big": "record text of the 0 1 2 3", "small": "quite other wörds here 4 5 6"}.items():
        tokenizer = train_tokenizer([words] * 3, vocab_size=110)
        network = build_network(
            small(width=8, feed_forward=8),
            tokenizer,
            max_positions=64,
            seed=0,
        )
        save_network(network, tokenizer, project / name)
    recipe = yaml.safe_load((project / "recipe.yaml").read_text())
    recipe |= {"teacher": {"model": "big"}, "student": {"model": "small"}}
    (project / "recipe.yaml").write_text(yaml.safe_dump(recipe))

    sentence = refused(understudy, project)

    assert re.search(r"tokens? .*differ", sentence)
    assert "cross_entropy" in sentence


def test_a_metric_without_its_checker_is_refused(understudy: Command, project: Path) -> None:
    """Before anything is trained."""
    sentence = refused(understudy, project, "--set", "task.metrics=[bleu, slot_error_rate]")

    assert "slot_error_rate needs a checker of facts" in sentence


def test_a_folder_that_cannot_be_made_is_named(understudy: Command, project: Path) -> None:
    """Here a file has its name."""
    sentence = refused(understudy, project, "--out", str(project / "recipe.yaml"))

    assert "recipe.yaml/store cannot be made (Not a directory); name another folder with --out" in sentence


def test_a_prompt_that_hides_the_input_is_refused(understudy: Command, project: Path) -> None:
    """A constant prompt would teach a constant."""
    assert "never shows the input" in refused(understudy, project, "--set", "task.prompt=summarize")


def test_what_was_finished_is_kept(understudy: Command, project: Path) -> None:
    """A run refused at the length limit has its data stage, and a run within it goes on from there."""
    refused(understudy, project, "--set", "task.max_source_tokens=3")

    assert [path.name.split("-")[0] for path in sorted((project / "runs" / "store").glob("[!.]*"))] == [
        "data",
        "tokenizer",
    ]


def test_asking_that_comes_to_nothing_is_no_success(
    understudy: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens at that port: what happened is printed, and the exit code says that it was in vain."""
    monkeypatch.setenv("SOME_KEY", "any")
    endpoint = project / "endpoint.yaml"
    endpoint.write_text("{model: m, base_url: 'http://127.0.0.1:9/v1', key: SOME_KEY, attempts: 1, max_tokens: 8}\n")
    code, printed, complained = understudy(
        "ask", project / "train.jsonl", "--endpoint", endpoint, "--out", project / "a"
    )

    assert code == 1
    assert "0 inputs answered" in printed
    assert "no input came to a usable text, for 0.0000; mend what is told above (is the server there?" in complained


@pytest.mark.parametrize("command", [["report"], ["evaluate"], ["pool", "show"]])
def test_a_folder_without_a_run_is_refused(understudy: Command, tmp_path: Path, command: list[str]) -> None:
    """By every command that takes one."""
    code, _, complained = understudy(*command, tmp_path)

    assert code == 1
    assert "holds no finished run" in complained
