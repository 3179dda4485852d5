"""The recipes of the repository with tiny checkpoints, and a few rows in the layout of each data set."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.pipeline.stage_helpers import train
from tests.pipeline.test_paper_pairs import bart, saved, t5
from transformers import AutoConfig

from understudy.cli import main
from understudy.config.read import check_recipe, read_recipe
from understudy.pipeline.run import run
from understudy.pipeline.stages.data import read_data

FOLDER = Path(__file__).parents[2] / "recipes" / "paper"
RECIPES = sorted(FOLDER.rglob("*.yaml"))
README = (FOLDER / "README.md").read_text(encoding="utf-8")
EPOCHS = ("teacher.finetune", "student.finetune", "training", "distil.final_finetune")
SMALL = (
    *(f"{section}.{setting}" for section in EPOCHS for setting in ("epochs=2", "warmup_steps=0")),
    "task.bertscore=null",
    "task.metrics=[chrf, rouge, nll]",
    "task.primary_metric=chrf",
    "task.max_source_tokens=390",
    "task.max_target_tokens=40",
    "pseudo_targets.per_input=2",
    "distil.student_samples.rounds_per_epoch=1",
    "evaluation={decoding: {kind: greedy}, resamples: 20, latency_inputs: 1, batch_inputs: 2, repeats: 1}",
    "precision=float32",
)


def xsum(name: str) -> dict[str, Any]:
    """A row of EdinburghNLP/xsum, longer than the recipe reads."""
    return {"document": f"{name}\n" + "rain " * 400, "summary": f"temp {name}", "id": name}


def squad(name: str) -> dict[str, Any]:
    """A row of rajpurkar/squad."""
    answers = {"text": [f"rain {name}", "rain"], "answer_start": [0, 0]}
    return {"id": name, "title": "Falford", "context": f"winds {name}", "question": f"temp {name}", "answers": answers}


def art(name: str) -> dict[str, Any]:
    """A row of GEM/ART."""
    columns = {"observation_1": f"rain {name}", "observation_2": "winds", "target": f"temp {name}"}
    return {"gem_id": name, **columns, "references": [columns["target"]]}


def shake(name: str) -> dict[str, Any]:
    """A line of shake7's files."""
    return {"id": name, "source": f"rain {name}", "target": f"temp {name}"}


def parquet(folder: Path, row: Callable[[str], dict[str, Any]], name: str) -> list[str]:
    """Writes a data set in the hub's layout; the overrides that take it instead of the real one."""
    for split, count in {"train": 6, "validation": 4, "test": 2}.items():
        path = folder / name.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist([row(f"{split} {number}") for number in range(count)]), path)
    return [f"task.hub.dataset={folder}", "task.hub.revision=null"]


def data_of(task: str, folder: Path) -> list[str]:
    """Writes six training inputs of which two are labeled; the overrides that name them and their sizes."""
    match task:
        case "xsum40":
            return [*parquet(folder, xsum, "default/{}/0000.parquet"), "task.labeled_inputs=2"]
        case "squad17":
            parts = {"dev": "validation[:2]", "test": "validation[2:]"}
            sizes = ["task.labeled_inputs=2", *(f"task.hub.splits.{split}={part}" for split, part in parts.items())]
            return [*parquet(folder, squad, "plain_text/{}-00000-of-00001.parquet"), *sizes]
        case "art10":
            parts = {"labeled": "train[:2]", "unlabeled": "train[2:]"}
            sizes = [f"task.hub.splits.{split}={part}" for split, part in parts.items()]
            return [*parquet(folder, art, "default/{}/0000.parquet"), *sizes]
        case _:
            folder.mkdir()
            for split, count in {"labeled": 2, "unlabeled": 4, "dev": 2, "test": 2}.items():
                lines = [json.dumps(shake(f"{split} {number}")) + "\n" for number in range(count)]
                (folder / f"{split}.jsonl").write_text("".join(lines))
            return [f"task.files.{split}={folder}/{split}.jsonl" for split in ("labeled", "unlabeled", "dev", "test")]


SOURCES = {
    "xsum40": r"\w+ \d\n(rain ){337}rain",
    "squad17": r"winds (\w+ \d); answer: rain \1",
    "art10": r"rain \w+ \d; outcome: winds",
    "shake7": r"rain \w+ \d",
}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Saves a tiny teacher and student of each pair, the BART student with the code of the README; the overrides."""
    folder = tmp_path_factory.mktemp("networks")
    base = saved(bart, folder / "bart-base", 3)
    (block,) = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert '"facebook/bart-base", Path("bart-6-2")' in block
    exec(block.replace("facebook/bart-base", base).replace("bart-6-2", str(folder / "bart-6-2")), {})  # noqa: S102
    pairs = {
        "t5": (saved(t5, folder / "t5-large", 2), saved(t5, folder / "t5-small", 1)),
        "bart": (saved(bart, folder / "bart-large", 3), str(folder / "bart-6-2")),
    }
    return {pair: [f"teacher.model={large}", f"student.model={small}"] for pair, (large, small) in pairs.items()}


def small_overrides(path: Path, networks: dict[str, list[str]], folder: Path) -> list[str]:
    """Overrides with which a recipe of the paper takes a few seconds."""
    return [*networks[path.stem], *data_of(path.parent.name, folder), *SMALL]


def named(path: Path) -> str:
    """A recipe as the README names it."""
    return f"{path.parent.name}/{path.name}"


def test_the_readme_names_every_recipe() -> None:
    """Four tasks and two pairs, each in the table; a recipe is named by its folder and file."""
    assert {named(path) for path in RECIPES} == set(re.findall(r"`(\w+/\w+\.yaml)` \|", README))
    assert len(RECIPES) == 8
    assert all(read_recipe(path).name == f"{path.parent.name}-{path.stem}" for path in RECIPES)


@pytest.mark.parametrize("path", RECIPES, ids=named)
def test_a_recipe_of_the_paper_is_shown(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the hub; what is printed reads as the same recipe."""
    monkeypatch.setattr(sys, "argv", ["understudy", "show", str(path)])
    with pytest.raises(SystemExit) as stopped:
        main()

    assert not stopped.value.code
    assert check_recipe(yaml.safe_load(capsys.readouterr().out)) == read_recipe(path)


def test_the_bart_student_has_a_pruned_decoder(networks: dict[str, list[str]]) -> None:
    """The code of the README keeps the whole encoder and two layers of the decoder."""
    config = AutoConfig.from_pretrained(networks["bart"][1].removeprefix("student.model="))

    assert (config.encoder_layers, config.decoder_layers) == (3, 2)


@pytest.mark.parametrize("path", RECIPES, ids=named)
def test_a_recipe_of_the_paper_is_distilled(path: Path, networks: dict[str, list[str]], tmp_path: Path) -> None:
    """From rows in the data set's layout to the predictions of the student after its final fine-tuning."""
    recipe = read_recipe(path, small_overrides(path, networks, tmp_path / "data"))
    stages, context = train(recipe, tmp_path / "runs")
    data, form = read_data(context.folder(stages.task.examples)), SOURCES[path.parent.name]

    assert (len(data.labeled), len(data.unlabeled)) == (2, 4)
    assert all(
        re.fullmatch(form, example.source) for example in (*data.labeled, *data.unlabeled, *data.dev, *data.test)
    )
    assert all(example.targets[0].startswith("temp") for example in (*data.labeled, *data.dev, *data.test))
    assert [system.name for system in stages.systems.scored] == ["teacher", "fine_tuned", "joint_teaching"]
    assert stages.systems.final.network is not stages.systems.student


def test_a_recipe_of_the_paper_runs_to_its_report(networks: dict[str, list[str]], tmp_path: Path) -> None:
    """One for all: a data set of the hub, a pruned student, and everything that is measured."""
    path = FOLDER / "squad17" / "bart.yaml"
    done = run(read_recipe(path, small_overrides(path, networks, tmp_path / "data")), out=tmp_path / "runs")

    assert (done.folder / "report.html").is_file()
    assert [system["name"] for system in done.facts["systems"]] == ["teacher", "fine_tuned", "joint_teaching"]
