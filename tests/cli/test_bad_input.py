"""Every invalid input ends with exit code 1 and a message that names the place and the remedy."""

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
    """Returns the message with which a run of the project is refused."""
    code, out, err = understudy("run", project / "recipe.yaml", "--out", project / "runs", "--quiet", *more)

    assert code == 1
    assert not out
    assert err.startswith("understudy: ")
    assert "Traceback" not in err
    return err


def test_a_malformed_line_is_named_by_its_number(understudy: Command, project: Path) -> None:
    """The message names the file and line 7."""
    rows = (project / "train.jsonl").read_text().splitlines()
    rows[6] = '{"id": "r6", "source": "record 6", "target": '
    (project / "train.jsonl").write_text("\n".join(rows) + "\n")

    assert re.search(r"train\.jsonl,? line 7", refused(understudy, project))


def test_an_empty_target_is_refused(understudy: Command, project: Path, lines: list[dict[str, Any]]) -> None:
    """White space is not a target."""
    lines[2]["target"] = "  "
    (project / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))

    message = refused(understudy, project)

    assert re.search(r"train\.jsonl,? line 3", message)
    assert "'target' is empty" in message


def test_a_missing_column_is_answered_with_the_columns_found(understudy: Command, project: Path) -> None:
    """The message also names the setting for the column's name."""
    (project / "train.jsonl").write_text('{"id": "1", "text": "a", "target": "b"}\n')

    message = refused(understudy, project)

    assert "no 'source', found: id, text, target" in message
    assert "task.fields.source" in message


def test_an_unknown_key_is_answered_with_the_nearest(understudy: Command, project: Path) -> None:
    """A typo in a key must not silently leave the default in place."""
    message = refused(understudy, project, "--set", "training.learning_rat=1e-4")

    assert "training.learning_rat: unknown key; did you mean 'learning_rate'?" in message


def test_a_source_over_the_limit_is_refused(understudy: Command, project: Path) -> None:
    """The message names the example, its length, the limit and the remedies."""
    message = refused(understudy, project, "--set", "task.max_source_tokens=3")

    assert re.search(r"the source of \w+ example '\w+' has \d+ tokens and task\.max_source_tokens is 3", message)
    assert "Raise task.max_source_tokens" in message


def test_long_training_inputs_can_be_dropped_but_test_inputs_cannot(understudy: Command, project: Path) -> None:
    """A score covers all examples of its split."""
    message = refused(understudy, project, "--set", "task.max_source_tokens=3", "--set", "task.long_sources=drop")

    assert re.search(r"the source of (dev|test) example", message)
    assert "long_sources" not in message


def test_a_reference_over_the_positions_of_the_model_is_refused_before_training(
    understudy: Command, project: Path
) -> None:
    """It matters for nll only; the message names the limit and both remedies."""
    with (project / "test.jsonl").open("a") as file:
        file.write(json.dumps({"id": "long", "source": "Held out T 99", "target": "word " * 400}) + "\n")

    message = refused(understudy, project)

    assert re.search(r"test example 'long' has a reference of \d+ tokens, and .* has \d+ positions", message)
    assert re.search(r"remove nll from task\.metrics, .* raise task\.max_target_tokens to \d+", message)
    assert not list((project / "runs" / "store").glob("teacher-*"))


@pytest.mark.parametrize("architecture", ["bart", "gpt2"])
def test_a_source_over_the_positions_of_a_pretrained_model_is_refused(
    understudy: Command, project: Path, architecture: Architecture
) -> None:
    """It is found before training; the message has the limit under which the example is dropped."""
    tokenizer = train_tokenizer(["record held out d t 0 1 2 3 the text of"] * 3, vocab_size=120)
    network = build_network(small(architecture, width=8, feed_forward=8), tokenizer, max_positions=80, seed=0)
    save_network(network, tokenizer, project / "network")
    recipe = yaml.safe_load((project / "recipe.yaml").read_text())
    recipe |= {"teacher": {"model": "network"}, "student": {"model": "network"}}
    recipe["task"] |= {"max_target_tokens": 20, "max_source_tokens": 500}
    (project / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with (project / "train.jsonl").open("a") as file:
        file.write(json.dumps({"id": "long", "source": "record " * 90, "target": "the text"}) + "\n")

    message = refused(understudy, project)

    limit = {"bart": 80, "gpt2": 61}[architecture]
    assert re.search(r"source of labeled example 'long' has \d+ tokens and .* has 80 positions", message)
    assert f"task.max_source_tokens={limit} and task.long_sources=drop" in message
    assert not list((project / "runs" / "store").glob("teacher-*"))


def test_test_inputs_in_train_are_refused(understudy: Command, project: Path) -> None:
    """The message has a remedy."""
    with (project / "train.jsonl").open("a") as file:
        file.write('{"id": "leak", "source": "Held out T 1", "target": "known"}\n')

    message = refused(understudy, project)

    assert "1 of test in labeled" in message
    assert "drop_from_train" in message


def test_different_vocabularies_are_refused_with_live_logits(understudy: Command, project: Path) -> None:
    """They are found before any model is loaded; the message names a method that works."""
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

    message = refused(understudy, project, "--set", "distil.teacher_logprobs={kind: dense}")

    assert re.search(r"tokens? .*differ", message)
    assert "sparse" in message


def test_a_metric_without_its_checker_is_refused(understudy: Command, project: Path) -> None:
    """It is found before training."""
    message = refused(understudy, project, "--set", "task.metrics=[bleu, slot_error_rate]")

    assert "slot_error_rate needs a checker of facts" in message


def test_a_folder_that_cannot_be_created_is_named(understudy: Command, project: Path) -> None:
    """Here a file has the name of the folder."""
    message = refused(understudy, project, "--out", str(project / "recipe.yaml"))

    assert re.search(r"recipe\.yaml/recipe cannot be made \(Not a directory\).* --out", message)


def test_a_prompt_without_the_input_is_refused(understudy: Command, project: Path) -> None:
    """With a constant prompt the model could only learn a constant."""
    assert "never shows the input" in refused(understudy, project, "--set", "task.prompt=summarize")


def test_finished_stages_of_a_refused_run_are_kept(understudy: Command, project: Path) -> None:
    """A run refused at the length limit keeps its data and tokenizer, and a corrected run continues from them."""
    refused(understudy, project, "--set", "task.max_source_tokens=3")

    finished = (project / "runs" / "store").glob("*/manifest.json")
    assert {path.parent.name.split("-")[0] for path in finished} == {"data", "tokenizer"}


def test_collecting_without_a_usable_response_fails(
    understudy: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server runs at that port: the first request says so, with its address, and the exit code is 1."""
    monkeypatch.setenv("SOME_KEY", "any")
    endpoint = project / "endpoint.yaml"
    endpoint.write_text("{model: m, base_url: 'http://127.0.0.1:9/v1', key: SOME_KEY, attempts: 1, max_tokens: 8}\n")
    code, _, err = understudy("collect", project / "train.jsonl", "--endpoint", endpoint, "--out", project / "a")

    assert code == 1
    assert "http://127.0.0.1:9/v1" in err


def test_missing_inputs_of_collect_are_named_without_a_word_on_recipes(understudy: Command, tmp_path: Path) -> None:
    """The path is an argument of the command."""
    (tmp_path / "endpoint.yaml").write_text("{model: m}\n")
    code, _, err = understudy("collect", "nope.csv", "--endpoint", tmp_path / "endpoint.yaml", "--out", tmp_path / "a")

    assert (code, "nope.csv: no such file; name the file" in err, "recipe" in err) == (1, True, False)


@pytest.mark.parametrize("command", [["report"], ["evaluate"], ["pool", "show"]])
def test_a_folder_without_a_finished_run_is_refused(understudy: Command, tmp_path: Path, command: list[str]) -> None:
    """This holds for every command that takes the folder of a run."""
    code, _, err = understudy(*command, tmp_path)

    assert code == 1
    assert "no finished run" in err
