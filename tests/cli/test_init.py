"""The command `init`: a recipe for the user's file that can be read and run, and nothing overwritten or guessed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.config.read import read_recipe
from understudy.config.recipe import Recipe
from understudy.config.task import FilesTask, Splits
from understudy.pipeline.recipe_files import check_files
from understudy.records import Example
from understudy.tasks.files import LoadedTask, load_files
from understudy.tasks.guards import refuse_leaks
from understudy.tasks.task_records import RecordSettings

Command = Callable[..., tuple[int, str, str]]


def read(folder: Path) -> tuple[Recipe, FilesTask, Splits]:
    """The recipe of a folder, its task and its files."""
    recipe = read_recipe(folder / "recipe.yaml")
    assert isinstance(recipe.task, FilesTask)
    assert isinstance(recipe.task.files, Splits)
    return recipe, recipe.task, recipe.task.files


def load(task: FilesTask, files: Splits) -> LoadedTask:
    """The data that a recipe names."""
    paths: dict[str, Any] = {split: path for split, path in files if path}
    return load_files(**paths, settings=RecordSettings(task.fields, task.format))


def test_a_template_has_a_place_for_data(understudy: Command, tmp_path: Path) -> None:
    """Its recipe is valid, is named after the folder, and names files in the folder `data`."""
    code, out, _ = understudy("init", tmp_path / "my task")

    recipe, _, files = read(tmp_path / "my task")
    assert (code, recipe.name) == (0, "my-task")
    assert files.labeled == tmp_path / "my task" / "data" / "labeled.jsonl"
    assert files.labeled.parent.is_dir()
    assert "understudy check" in out
    assert "# understudy methods lists all" in (tmp_path / "my task" / "recipe.yaml").read_text()
    assert "# Put your data" in (tmp_path / "my task" / "recipe.yaml").read_text()


def test_a_recipe_is_shown_as_it_was_written(understudy: Command, tmp_path: Path) -> None:
    """`show` accepts it."""
    understudy("init", tmp_path / "task")
    code, out, _ = understudy("show", tmp_path / "task" / "recipe.yaml")

    assert code == 0
    assert yaml.safe_load(out)["name"] == "task"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of thirty requests; two inputs differ by case only, one response was cut."""
    path = tmp_path / "log.jsonl"
    rows = [
        {
            "id": f"r{i}",
            "request": {"messages": [{"role": "user", "content": f"Input {i}" if i else "INPUT 1"}]},
            "response": {
                "choices": [
                    {"message": {"content": f"The text of {i} is it"}, "finish_reason": "length" if i == 9 else "stop"}
                ]
            },
        }
        for i in range(30)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_what_was_recognised_is_said_and_written(understudy: Command, tmp_path: Path, log: Path) -> None:
    """The format is named in the recipe; dev and test, which the file does not have, are left to the user."""
    code, out, _ = understudy("init", tmp_path / "task", "--from", log)

    _, task, files = read(tmp_path / "task")
    assert (code, task.format.labeled, files.labeled) == (0, "request_log", log)
    assert "log.jsonl: request_log, 29 records with 29 different inputs and 29 targets" in out
    assert "left out: 1 cut at the length limit" in out
    assert "the file has no dev and test" in out
    assert "--dev 2 --test 5" in out
    assert not (tmp_path / "task" / "data").exists()


def test_dev_and_test_are_drawn_on_request(understudy: Command, tmp_path: Path, log: Path) -> None:
    """The files partition the inputs, share none but for case, and the recipe reads them as they are."""
    code, out, _ = understudy("init", tmp_path / "task", "--from", log, "--dev", "4", "--test", "6")

    recipe, task, files = read(tmp_path / "task")
    check_files(recipe)
    data = load(task, files).data
    sources = [example.source for split in (data.labeled, data.dev, data.test) for example in split]
    assert code == 0
    assert sorted(sources) == sorted(["INPUT 1", *(f"Input {i}" for i in range(1, 30) if i != 9)])
    assert len(data.dev) in (4, 5)
    assert len(data.test) in (6, 7)
    refuse_leaks(data)
    assert f"{len(data.labeled)} labeled, {len(data.dev)} dev, {len(data.test)} test" in out


def test_the_ids_of_the_file_are_kept_where_dev_and_test_are_drawn(understudy: Command, tmp_path: Path) -> None:
    """Each drawn record has the id that its source has in the file; without ids they are generated."""
    rows = [{"id": f"user-{i}", "source": f"input {i}", "target": "a b c d"} for i in range(5)]
    (tmp_path / "ids.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "none.csv").write_text("source,target\n" + "".join(f"input {i},b\n" for i in range(5)))
    drawn = ("--dev", "1", "--test", "1")
    assert understudy("init", tmp_path / "with", "--from", tmp_path / "ids.jsonl", *drawn)[0] == 0
    assert understudy("init", tmp_path / "without", "--from", tmp_path / "none.csv", *drawn)[0] == 0

    kept = [line for path in (tmp_path / "with" / "data").iterdir() for line in path.read_text().splitlines()]
    assert {(row["id"], row["source"]) for row in map(json.loads, kept)} == {(row["id"], row["source"]) for row in rows}
    assert json.loads((tmp_path / "without" / "data" / "dev.jsonl").read_text())["id"] == "dev-0"


def test_inputs_alone_become_a_recipe_with_an_api_teacher(understudy: Command, tmp_path: Path) -> None:
    """`task.held_out` proposes dev and test; the file's column is named."""
    path = tmp_path / "in.csv"
    path.write_text("prompt,n\n" + "".join(f"input number {i},1\n" for i in range(50)))
    code, out, _ = understudy("init", tmp_path / "task", "--from", path)

    recipe, task, files = read(tmp_path / "task")
    assert (code, task.held_out.dev, task.held_out.test) == (0, 5, 10)
    assert (files.unlabeled, task.fields.source) == (path, "prompt")
    assert "endpoint" in recipe.teacher.model_dump()
    assert "task.held_out proposes 5 inputs as dev and 10 as test" in out
    assert len(load(task, files).data.unlabeled) == 50


PROMPT = 'Rewrite: "it\'s" {braces} # no comment\n\n  an indented line\nInput: {source}\nAnswer:\n'


def test_the_options_of_an_api_teacher_are_written(understudy: Command, tmp_path: Path) -> None:
    """Whatever characters the prompt has; its last line break is that of the file."""
    (tmp_path / "in.csv").write_text("source\n" + "".join(f"input number {i}\n" for i in range(50)))
    (tmp_path / "prompt.txt").write_text(PROMPT)
    (tmp_path / "system.txt").write_text("\tBe brief.\n")
    files = ("--prompt", tmp_path / "prompt.txt", "--system", tmp_path / "system.txt", "--max-target-tokens", "99")
    server = ("--teacher-url", "http://127.0.0.1:9/v1", "--teacher-model", "a: #b", "--key-variable", "MY_KEY")
    cost = ("--price", "1", "2.5", "--budget", "7", "--student", "scratch")
    code, _, err = understudy("init", tmp_path / "task", "--from", tmp_path / "in.csv", *files, *server, *cost)

    assert (code, err) == (0, "")
    recipe, task, _ = read(tmp_path / "task")
    endpoint = recipe.teacher.model_dump()["endpoint"]
    assert (endpoint["prompt"], endpoint["system"]) == (PROMPT.rstrip("\n"), "\tBe brief.")
    assert (endpoint["base_url"], endpoint["model"], endpoint["key"]) == ("http://127.0.0.1:9/v1", "a: #b", "MY_KEY")
    assert (endpoint["price"], endpoint["budget"]) == ({"input": 1.0, "output": 2.5}, 7.0)
    assert (endpoint["max_tokens"], task.max_target_tokens) == (99, 99)
    assert recipe.student.model_dump()["scratch"]["width"] == 96


@pytest.mark.parametrize(
    ("inputs", "student", "epochs"), [(50, None, 286), (50, "scratch", 1143), (3000, None, 20), (3000, "scratch", 20)]
)
def test_few_inputs_are_read_more_often(
    understudy: Command, tmp_path: Path, inputs: int, student: str | None, epochs: int
) -> None:
    """10,000 inputs, or 40,000 for random weights, in at least 20 epochs: the training is longer than its warm-up."""
    (tmp_path / "in.csv").write_text("source\n" + "".join(f"input number {i}\n" for i in range(inputs)))
    understudy("init", tmp_path / "task", "--from", tmp_path / "in.csv", *(("--student", student) if student else ()))

    assert read(tmp_path / "task")[0].training.epochs == epochs


def test_the_price_of_another_model_is_not_guessed(understudy: Command, tmp_path: Path) -> None:
    """Neither is a budget, which needs it; both are shown as comments."""
    (tmp_path / "in.csv").write_text("source\na\nb\nc\n")
    understudy("init", tmp_path / "task", "--from", tmp_path / "in.csv", "--teacher-model", "gpt-9")

    endpoint = read(tmp_path / "task")[0].teacher.model_dump()["endpoint"]
    assert (endpoint["model"], endpoint["price"], endpoint["budget"]) == ("gpt-9", None, None)
    assert "# budget: " in (tmp_path / "task" / "recipe.yaml").read_text()


def test_a_log_with_an_api_teacher_is_used_as_labels(understudy: Command, tmp_path: Path, log: Path) -> None:
    """Dev and test are drawn from it, and its responses are one training text in five."""
    options = ("--dev", "4", "--test", "6", "--teacher-model", "m")
    code, _, err = understudy("init", tmp_path / "task", "--from", log, *options)

    assert (code, err) == (0, "")
    recipe, task, files = read(tmp_path / "task")
    check_files(recipe)
    assert (files.labeled, task.referenced_by_teacher) == (tmp_path / "task" / "data" / "labeled.jsonl", ())
    assert recipe.pseudo_targets.inputs == ("labeled",)
    assert (recipe.distil.targets.gold, recipe.distil.targets.teacher) == (0.2, 0.8)
    assert recipe.student.finetune == recipe.training


def test_a_language_without_spaces_gets_metrics_of_characters(understudy: Command, tmp_path: Path) -> None:
    """And models that can write it; the limits of tokens count its characters."""
    path = tmp_path / "zh.jsonl"
    path.write_text(
        json.dumps({"source": "今天天气" * 30, "target": "很冷" * 20}, ensure_ascii=False), encoding="utf-8"
    )
    _, out, _ = understudy("init", tmp_path / "task", "--from", path)

    recipe, task, _ = read(tmp_path / "task")
    assert (task.metrics, task.primary_metric, task.max_source_tokens) == (("chrf",), "chrf", 128)
    assert recipe.student.model_dump()["model"] == "google/mt5-small"
    assert "metrics: chrf (the language does not separate words by spaces" in out


def test_a_batch_and_a_conversation_take_their_settings(understudy: Command, tmp_path: Path) -> None:
    """What `init` was given to read the file is written into the recipe, which reads the same."""
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 2
    (tmp_path / "in.jsonl").write_text(json.dumps({"custom_id": "1", "body": {"messages": chat[:3]}}))
    (tmp_path / "out.jsonl").write_text(
        json.dumps({"custom_id": "1", "response": {"body": {"choices": [{"text": "c"}]}}})
    )
    plain = ("init", tmp_path / "refused", "--from", tmp_path / "out.jsonl", "--batch-requests", tmp_path / "in.jsonl")
    assert "(init: --turns) to last" in understudy(*plain)[2]
    options = ("--batch-requests", tmp_path / "in.jsonl", "--turns", "last")
    code, _, err = understudy("init", tmp_path / "task", "--from", tmp_path / "out.jsonl", *options)

    assert (code, err) == (0, "")
    _, task, files = read(tmp_path / "task")
    only = files.model_copy(update={"dev": None, "test": None})
    assert load(task, only).data.labeled == (Example("1", "a", ("c",)),)


def test_names_with_signs_of_yaml_are_read_back(understudy: Command, tmp_path: Path) -> None:
    """Columns and paths are quoted."""
    path = tmp_path / "a: #'b' {c}.jsonl"
    path.write_text(json.dumps({'ein: "Feld" #1 ü': "a b", "target": "c"}))
    code, _, err = understudy("init", tmp_path / "task", "--from", path, "--source", 'ein: "Feld" #1 ü')

    assert (code, err) == (0, "")
    _, task, files = read(tmp_path / "task")
    assert (files.labeled, task.fields.source) == (path, 'ein: "Feld" #1 ü')


REFUSED: dict[str, tuple[list[str], str]] = {
    "a recipe that exists": (["there"], "there/recipe.yaml exists already and is kept"),
    "a file as the folder": (["in.csv"], "in.csv exists already and is kept"),
    "a missing file": (["task", "--from", "none.csv"], "none.csv: no such file; give --from"),
    "an unknown format": (["task", "--from", "in.csv", "--format", "mesages"], "did you mean 'messages'"),
    "an unknown policy": (["task", "--from", "in.csv", "--turns", "lst"], "'refuse', 'last' or 'all'"),
    "options without a file": (["task", "--source", "a"], "--source needs a data file"),
    "dev of inputs alone": (["task", "--from", "in.csv", "--dev", "1"], "task.held_out takes dev and test"),
    "too many": (["task", "--from", "pairs.csv", "--dev", "1", "--test", "1"], "has 2 different ones"),
    "dev alone": (["task", "--from", "pairs.csv", "--dev", "1"], "--dev 1 --test 0 must both be at least 1"),
    "data that exist": (["data", "--from", "many.csv", "--dev", "1", "--test", "1"], "dev.jsonl exists already"),
    "a server without a scheme": (
        ["task", "--from", "in.csv", "--teacher-url", "a:1", "--teacher-model", "m"],
        "base_url",
    ),
    "a server without a model": (["task", "--from", "in.csv", "--teacher-url", "http://a"], "with --teacher-model"),
    "a key": (["task", "--from", "in.csv", "--key-variable", "sk-1"], "the name of an environment variable"),
    "a budget without a price": (
        ["task", "--from", "in.csv", "--teacher-model", "m", "--budget", "1"],
        "--price INPUT",
    ),
    "a prompt without the input": (["task", "--from", "in.csv", "--prompt", "notes.txt"], "has no {source}"),
    "a missing prompt": (["task", "--from", "in.csv", "--prompt", "none.txt"], "give --prompt the path"),
    "a teacher without data": (["task", "--teacher-model", "m"], "--teacher-model needs a data file"),
    "another kind of file": (["task", "--from", "notes.txt"], "no reader for this suffix"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_become_a_recipe_is_refused(
    understudy: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    """Exit code 1 and one sentence; no file is written or changed."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "there/recipe.yaml": "kept",
        "data/data/dev.jsonl": "kept",
        "in.csv": "source\na\nb\n",
        "pairs.csv": "source,target\na,b\nc,d\n",
        "many.csv": "source,target\na,b\nc,d\ne,f\n",
        "notes.txt": "a",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, _, err = understudy("init", *arguments)

    assert code == 1
    assert message in err
    assert "Traceback" not in err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
