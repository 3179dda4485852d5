"""Which engine opens a checkpoint, what it declares, and which files it leaves."""

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Beam, DiverseBeam, EngineName, Greedy, KBeams, PoolDecoding, Sampling
from understudy.errors import ConfigError, GenerationError
from understudy.generation import ENGINES, convert_checkpoint, live_engine, open_engine, resolve_engine
from understudy.generation.hf import HuggingFaceEngine
from understudy.generation.workspace import MARKER, private_folder
from understudy.models.families import FAMILIES

Network = Callable[[str], PreTrainedModel]
Checkpoint = Callable[[str], Path]
Sources = Callable[[PreTrainedModel], list[list[int]]]
DECODINGS: dict[str, tuple[PoolDecoding, int]] = {
    "greedy": (Greedy(), 1),
    "beam": (Beam(beams=2), 1),
    "k_beams": (KBeams(beams=2), 2),
    "sampling": (Sampling(), 2),
    "diverse_beam": (DiverseBeam(groups=2), 2),
}
EVERY_ENGINE = pytest.mark.parametrize("name", ENGINES)
EVERY_CPU_ENGINE = pytest.mark.parametrize(
    "name", [name for name, entry in ENGINES.items() if "cpu" in entry.capabilities.devices]
)
"""Those that open a BART here; `test_vllm_engine.py` has the other one."""


@pytest.fixture
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder of this test, empty."""
    folder = tmp_path / "system"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def greedy(name: EngineName, checkpoint: Path, workspace: Path, dtype: str = "float32") -> list[tuple[int, ...]]:
    """Texts of two short sources from a new engine."""
    with open_engine(name, checkpoint, workspace=workspace, threads=1, dtype=dtype) as engine:
        return [texts[0].token_ids for texts in engine.generate([[5, 2], [6, 7, 2]], Greedy(), max_tokens=6)]


def contents(folder: Path) -> set[str]:
    """Everything in a folder and below it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("family", "engine"), [("bart", "ctranslate2"), ("llama", "ctranslate2"), ("llama-yarn", "hf"), ("umt5", "hf")]
)
def test_auto_is_the_fast_engine_where_its_texts_are_right(
    family: str, engine: str, *, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """CTranslate2 for the families with equal texts, transformers for the others; weights are not read for it."""
    folder = checkpoint(family)
    with open_engine("auto", folder, workspace=tmp_path) as opened:
        assert opened.name == engine
    (folder / "model.safetensors").unlink()
    assert resolve_engine("auto", folder) == engine


def test_auto_is_an_engine_that_has_the_decoding(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Only diverse beams need another engine than the model does."""
    folder = checkpoint("bart")
    chosen = {kind: resolve_engine("auto", folder, decoding) for kind, (decoding, _) in DECODINGS.items()}

    assert chosen == {**dict.fromkeys(DECODINGS, "ctranslate2"), "diverse_beam": "hf"}
    with open_engine("auto", folder, workspace=tmp_path, decoding=DiverseBeam(groups=2)) as engine:
        assert engine.name == "hf"


@pytest.mark.parametrize(("family", "found"), [("umt5", "'umt5'"), ("llama-yarn", "'llama' .* 'yarn' rotary")])
def test_what_ctranslate2_gets_wrong_is_refused(
    family: str, found: str, *, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """The message has the family and the engine that works; nothing is converted."""
    for refused in (resolve_engine, lambda name, folder: convert_checkpoint(name, folder, tmp_path / "ctranslate2")):
        with pytest.raises(GenerationError, match=rf"'ctranslate2'.*{found}.*use engine 'hf'"):
            refused("ctranslate2", checkpoint(family))

    assert contents(tmp_path) == set()


def test_an_unknown_engine_is_answered_with_the_known(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """The message lists the names."""
    with (
        pytest.raises(ConfigError, match="unknown engine 'vlm'; known: auto, ctranslate2, hf, vllm"),
        open_engine("vlm", checkpoint("bart"), workspace=tmp_path),
    ):
        pass


@EVERY_CPU_ENGINE
@pytest.mark.parametrize("kind", DECODINGS)
def test_declared_decodings_work_and_others_are_refused(
    name: EngineName, kind: str, *, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """Before the engine is opened, and by the open engine; log-probabilities are numbers where they are declared."""
    (decoding, count), folder, declared = DECODINGS[kind], checkpoint("bart"), ENGINES[name].capabilities
    with open_engine(name, folder, workspace=tmp_path, threads=1) as engine:
        if kind in declared.decodings:
            (texts,) = engine.generate([[5, 2]], decoding, per_source=count, max_tokens=4)
            assert len(texts) == count
            assert all((text.logprob <= 0) == declared.logprobs for text in texts)
        else:
            with pytest.raises(GenerationError, match=rf"'{name}'.*{kind}.*use engine 'hf'"):
                resolve_engine(name, folder, decoding)
            with pytest.raises(GenerationError, match=rf"'{name}'.*{kind}.*use engine 'hf'"):
                engine.generate([[5, 2]], decoding, per_source=count, max_tokens=4)


@EVERY_ENGINE
def test_declared_families_are_those_that_are_opened(name: EngineName, *, network: Network) -> None:
    """The reason function refuses exactly the other families of the table."""
    declared, entry = ENGINES[name].capabilities.families, ENGINES[name]
    for family in FAMILIES:
        config = network("bart").config.__class__()
        config.model_type = family
        assert (entry.unsupported(config) is None) == (declared is None or family in declared)


@EVERY_CPU_ENGINE
def test_declared_dtypes_work_and_others_are_refused(name: EngineName, checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Texts come with each; the message of a refusal lists them."""
    folder = checkpoint("bart")
    for dtype in ENGINES[name].capabilities.dtypes:
        assert len(greedy(name, folder, tmp_path, dtype=dtype)) == 2
    with pytest.raises(GenerationError, match=rf"'{name}'.*'int3'.*bfloat16, float16, float32"):
        greedy(name, folder, tmp_path, dtype="int3")


def test_a_checkpoint_is_opened_with_the_dtype(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Log-probabilities in bfloat16 differ from those in float32 by its precision."""
    folder, scores = checkpoint("bart"), {}
    for dtype in ("float32", "bfloat16"):
        with open_engine("hf", folder, workspace=tmp_path, dtype=dtype) as engine:
            scores[dtype] = engine.generate([[5, 2]], Greedy(), max_tokens=1)[0][0].logprob

    assert scores["bfloat16"] != scores["float32"]
    assert scores["bfloat16"] == pytest.approx(scores["float32"], abs=0.1)


def test_int8_gives_other_log_probabilities_and_hf_refuses_it(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """They differ by the rounding of the weights, from one conversion in float32."""
    folder, scores = checkpoint("llama"), {}
    for dtype in ("float32", "int8"):
        with open_engine("ctranslate2", folder, workspace=tmp_path, dtype=dtype) as engine:
            scores[dtype] = engine.score([[5, 7, 9]], [[6, 8]])[0]

    assert scores["int8"] != scores["float32"]
    assert scores["int8"] == pytest.approx(scores["float32"], abs=0.3)
    with pytest.raises(GenerationError, match=r"'hf'.*'int8'.*bfloat16, float16, float32"):
        greedy("hf", folder, tmp_path, dtype="int8")


def test_a_conversion_is_made_once(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """A second engine opens the files of the first, also if the checkpoint's weights are gone."""
    folder = checkpoint("bart")
    first = greedy("ctranslate2", folder, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    (folder / "model.safetensors").unlink()

    assert greedy("ctranslate2", folder, tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files
    assert {path.name for path in tmp_path.iterdir()} == {"ctranslate2"}


def test_a_conversion_made_beforehand_is_used(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """`convert_checkpoint` writes what `open_engine` looks for; an engine that reads checkpoints needs nothing."""
    folder = checkpoint("gpt2")
    expected = greedy("ctranslate2", folder, tmp_path / "other")
    convert_checkpoint("ctranslate2", folder, tmp_path / "ctranslate2")
    convert_checkpoint("hf", folder, tmp_path / "hf")
    (folder / "model.safetensors").unlink()

    assert greedy("ctranslate2", folder, tmp_path) == expected
    assert not (tmp_path / "hf").exists()


def test_an_incomplete_conversion_is_replaced(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Without its last file a conversion is made again; what a killed process left is removed."""
    folder = checkpoint("bart")
    expected = greedy("ctranslate2", folder, tmp_path)
    (tmp_path / "ctranslate2" / MARKER).unlink()
    (tmp_path / "ctranslate2" / "model.bin").write_bytes(b"half")
    with private_folder(tmp_path, "ctranslate2") as partial:
        dead = tmp_path / partial.name.replace(f"-{os.getpid()}-", f"-{_dead_process()}-")
        shutil.copytree(tmp_path / "ctranslate2", dead)
        assert greedy("ctranslate2", folder, tmp_path) == expected
        assert partial.is_dir()

    assert {path.name for path in tmp_path.iterdir()} == {"ctranslate2"}


def _dead_process() -> int:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_a_conversion_that_fails_leaves_nothing(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Here the checkpoint's weights are missing."""
    folder = checkpoint("bart")
    (folder / "model.safetensors").unlink()
    with pytest.raises(Exception, match="model"):
        greedy("ctranslate2", folder, tmp_path)

    assert contents(tmp_path) == set()


@EVERY_CPU_ENGINE
def test_a_live_model_leaves_no_files(
    name: EngineName,
    *,
    network: Network,
    sources: Sources,
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
    temporary_folder: Path,
) -> None:
    """It generates with the weights of the moment, and its copy of them is removed, also after an error."""
    model, workspace = network("bart"), tmp_path / "workspace"
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(0.1 * torch.randn_like(model.get_input_embeddings().weight))
    expected = HuggingFaceEngine(model, tokenizer).generate(sources(model), Greedy(), max_tokens=6)
    with (
        suppress(KeyError),
        live_engine(name, model, tokenizer, workspace=workspace, threads=1) as engine,
    ):
        texts = engine.generate(sources(model), Greedy(), max_tokens=6)
        raise KeyError

    assert [own[0].token_ids for own in texts] == [own[0].token_ids for own in expected]
    assert (contents(workspace) if workspace.exists() else set()) == set()
    assert contents(temporary_folder) == set()


@EVERY_CPU_ENGINE
def test_the_systems_temporary_folder_is_not_used(
    name: EngineName, checkpoint: Checkpoint, tmp_path: Path, temporary_folder: Path
) -> None:
    """Neither while an engine is open nor afterwards; the checkpoint's folder does not change either."""
    folder = checkpoint("bart")
    before = contents(folder.parent)
    with open_engine(name, folder, workspace=tmp_path / "workspace") as engine:
        engine.generate([[5, 2]], Greedy(), max_tokens=3)
        assert contents(temporary_folder) == set()

    assert contents(temporary_folder) == set()
    assert contents(folder.parent) == before


def test_threads_are_restored(network: Network, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """Torch has its own number of threads again afterwards."""
    before = torch.get_num_threads()
    with live_engine("hf", network("bart"), tokenizer, workspace=tmp_path, threads=before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
