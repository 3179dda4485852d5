"""An exported folder alone gives the evaluated texts, in each format; its card says what was measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from understudy.cli.app import app
from understudy.errors import ConfigError, GenerationError, StoreError
from understudy.evaluation.predictions import read_predictions
from understudy.pipeline.inspect.export import Export, export_run
from understudy.pipeline.inspect.open import open_run
from understudy.pipeline.run import Run
from understudy.records import Prediction
from understudy.serving.card import Statements


@pytest.fixture(scope="module")
def evaluated(finished: Run) -> list[Prediction]:
    """What the distilled student was scored with."""
    run = open_run(finished.folder)
    return read_predictions(run.predictions(run.facts["method"]) / "test.jsonl")


@pytest.fixture(scope="module")
def exports(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Export]:
    """Every format and precision of an encoder-decoder, exported once."""
    out = tmp_path_factory.mktemp("exports")
    wanted = [("hf", "float32"), ("hf", "bfloat16"), ("ct2", "float32"), ("ct2", "bfloat16"), ("ct2", "int8")]
    return {
        (name, precision): export_run(finished.folder, name, precision=precision, out=out / name / precision)
        for name, precision in wanted
    }


def printed(folder: Path, source: str) -> str:
    """What the export's own example prints for a source, without this package."""
    command = [sys.executable, "-W", "ignore", "example.py", source]
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PATH": ""}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.removesuffix("\n")


@pytest.mark.parametrize("name", ["hf", "ct2"])
def test_float32_gives_the_evaluated_texts_and_so_does_its_example(
    exports: dict[tuple[str, str], Export], evaluated: list[Prediction], name: str
) -> None:
    """All texts of the test set are equal, and the program in the folder prints one of them."""
    written = exports[name, "float32"]
    assert (written.proof.equal, written.proof.texts) == (len(evaluated), len(evaluated))
    assert written.proof.metric is None
    assert printed(written.folder, evaluated[0].source) == evaluated[0].text
    assert len((written.folder / "example.py").read_text(encoding="utf-8").splitlines()) <= 17


def test_reduced_precision_has_a_paired_difference_where_texts_differ(exports: dict[tuple[str, str], Export]) -> None:
    """Its interval contains the difference, and both are in the card; equal texts need no difference."""
    for written in exports.values():
        proof = written.proof
        assert (proof.metric is None) == (proof.equal == proof.texts)
        assert proof.low <= proof.difference <= proof.high
        card = (written.folder / "README.md").read_text(encoding="utf-8")
        assert ("all 8 inputs" if proof.metric is None else f"{proof.equal} of 8 inputs") in card
        assert ("paired 95 % interval" in card) == (proof.metric is not None)
    assert any(written.proof.metric for written in exports.values())


def test_weights_have_the_precision(exports: dict[tuple[str, str], Export]) -> None:
    """Smaller types take less space, and config.json of a checkpoint names them."""
    sizes = {key: (one.folder / "model.bin").stat().st_size for key, one in exports.items() if key[0] == "ct2"}
    assert max(sizes["ct2", "int8"], sizes["ct2", "bfloat16"]) < sizes["ct2", "float32"]
    settings = json.loads((exports["hf", "bfloat16"].folder / "config.json").read_text(encoding="utf-8"))
    assert settings["dtype"] == "bfloat16"


def test_the_card_has_the_scores_and_the_statements(finished: Run, tmp_path: Path) -> None:
    """The hub's own reader finds the scores of the report with their intervals, and the licence."""
    statements = Statements("CC-BY-4.0", "own", "Apache-2.0 with an exception", "en", "Ask the owners.")
    export_run(finished.folder, "hf", out=tmp_path / "out", statements=statements)
    card = ModelCard.load(tmp_path / "out" / "README.md")
    facts = open_run(finished.folder).facts
    (system,) = (one for one in facts["systems"] if one["name"] == facts["method"])

    found = {one.metric_type: one for one in card.data.eval_results or ()}
    assert found.keys() == system["scores"].keys()
    for metric, score in system["scores"].items():
        assert found[metric].metric_value == score["value"]
        assert (found[metric].metric_args["low"], found[metric].metric_args["high"]) == (score["low"], score["high"])
    assert (card.data.license, card.data.license_name) == ("other", "Apache-2.0 with an exception")
    assert card.data.language == "en"
    for text in ("CC-BY-4.0", "Ask the owners.", "python example.py", "## Limits", *facts["notes"]):
        assert text in card.text
    assert "Llama" not in card.text  # the network was built from scratch


def test_the_command_writes_the_folder_and_says_what_it_proved(finished: Run, tmp_path: Path) -> None:
    """Exit code 0, the number of equal texts, and where the folder is."""
    words = ["export", str(finished.folder), "--format", "ct2", "--out", str(tmp_path / "out"), "--quiet"]
    done = CliRunner().invoke(app, [*words, "--card", "language=de"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "8 of 8 texts of test are equal to the evaluated ones",
        f"ct2 in float32: {tmp_path / 'out'}",
    ]
    assert ModelCard.load(tmp_path / "out" / "README.md").data.language == "de"


def test_a_format_without_the_model_leaves_nothing(finished: Run, tmp_path: Path) -> None:
    """An encoder-decoder is no GGUF file: one sentence, no folder and no part of one."""
    pytest.importorskip("gguf")
    pytest.importorskip("xllamacpp")
    with pytest.raises(GenerationError, match="cannot have a 'bart' model"):
        export_run(finished.folder, "gguf", out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_and_nothing_is_left_of_a_refusal(finished: Run, tmp_path: Path) -> None:
    """An existing folder, an unknown format and an unknown precision are refused before anything is written."""
    (tmp_path / "mine").mkdir()
    with pytest.raises(StoreError, match="exists"):
        export_run(finished.folder, "hf", out=tmp_path / "mine")
    with pytest.raises(ConfigError, match="unknown format 'onnx'; known: ct2"):
        export_run(finished.folder, "onnx", out=tmp_path / "other")
    with pytest.raises(ConfigError, match=r"'int4'; known: bfloat16, float32, int8"):
        export_run(finished.folder, "ct2", precision="int4", out=tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
