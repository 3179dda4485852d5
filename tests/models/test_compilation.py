import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.test_attention import CONFIGS, SOURCES, build, logits
from torch import Tensor, nn
from torch._dynamo.utils import counters
from transformers import AutoModelForCausalLM
from transformers.modeling_layers import GradientCheckpointingLayer

from understudy.errors import ModelError
from understudy.models.compilation import compiled_layers

TORCH_WARNS = pytest.mark.filterwarnings("default")
"""Of its own code, while it compiles."""


@TORCH_WARNS
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
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


class Calls:
    """A compiler that compiles nothing and counts the calls of what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        compiler = torch.compile
        monkeypatch.setattr(torch, "compile", lambda each, **options: compiler(each, backend=self._backend, **options))

    def _backend(self, graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., Any]:
        def counted(*args: Tensor) -> Any:  # noqa: ANN401 - what the graph returns
            self.count += 1
            return graph.forward(*args)

        return counted

    def during(self, work: Callable[[], object]) -> int:
        """The calls that a piece of work makes."""
        self.count = 0
        work()
        return self.count


@TORCH_WARNS
def test_every_layer_of_every_training_runs_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """More layers than torch's limit of versions, after generation, in networks that are trained one after another."""
    calls, several = Calls(monkeypatch), copy.deepcopy(CONFIGS["llama"])
    several.num_hidden_layers = 12
    for model in (AutoModelForCausalLM.from_config(several), *map(build, ("gpt2", "bart", "t5"))):
        layers = sum(isinstance(module, GradientCheckpointingLayer) for module in model.modules())
        with compiled_layers(model):
            assert calls.during(partial(model.generate, SOURCES, max_new_tokens=4)) == 0
            assert calls.during(partial(logits, model)) == layers
            assert calls.during(partial(logits, model)) == layers
        assert calls.during(partial(logits, model)) == 0


def test_a_machine_without_a_compiler_is_told_what_to_install(tmp_path: Path) -> None:
    """What was compiled before does not help: the compiler itself is tried."""
    code = "from understudy.models.compilation import require_compiler; require_compiler('cpu')"
    without = {name: value for name, value in os.environ.items() if name != "CXX"}
    without |= {"PATH": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", code], env=without, capture_output=True, text=True, check=False)

    assert re.search(r"ConfigError: compile_layers needs .* fails here: .*apt install g\+\+", ended.stderr)
