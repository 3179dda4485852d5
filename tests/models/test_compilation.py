from pathlib import Path

import pytest
import torch
from tests.models.test_attention import build, logits
from torch import nn
from torch._dynamo.utils import counters

from understudy.errors import ConfigError, ModelError
from understudy.models.compilation import compiled_layers, require_compiler


@pytest.mark.filterwarnings("default")  # torch warns of its own code while it compiles
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_compiled_layers_give_the_same_gradients(family: str) -> None:
    """Up to the order of sums; afterwards the model computes what it did, bit by bit."""
    model = build(family)

    def gradients() -> list[torch.Tensor]:
        return list(torch.autograd.grad(logits(model).square().sum(), list(model.parameters())))

    expected, names = gradients(), list(model.state_dict())
    compiled_before = counters["stats"]["unique_graphs"]
    with compiled_layers(model):
        found = gradients()
        assert counters["stats"]["unique_graphs"] > compiled_before
        assert list(model.state_dict()) == names

    assert all((a - b).norm() <= 1e-5 * b.norm() for a, b in zip(found, expected, strict=True))
    assert all(torch.equal(*pair) for pair in zip(gradients(), expected, strict=True))


def test_a_model_without_marked_layers_is_refused() -> None:
    """The message names the setting and the class."""
    model = build("llama")
    model.model.layers = nn.ModuleList()
    with pytest.raises(ModelError, match=r"compile_layers.*LlamaForCausalLM"), compiled_layers(model):
        pass


@pytest.mark.parametrize(("named", "words"), [("", r"no g\+\+ and no clang"), ("mycc", "no mycc;")])
def test_a_machine_without_a_compiler_is_told_what_to_install(
    named: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The variable CXX names another one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", named)
    with pytest.raises(ConfigError, match=rf"compile_layers needs a C.. compiler.*{words}.*apt install g"):
        require_compiler()
    compiler = tmp_path / (named or "g++")
    compiler.touch(mode=0o755)
    require_compiler()
