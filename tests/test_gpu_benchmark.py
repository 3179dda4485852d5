"""`benchmarks/gpu.py`: its parts with small sizes on this CPU, and what it does when one fails."""

import json
import os
from typing import Any

import pytest
import torch
from benchmarks import gpu
from benchmarks.gpu_parts.losses import joint_teaching_loss
from benchmarks.gpu_parts.measures import PARTS, correctness
from benchmarks.gpu_parts.networks import BRIEF, FULL, Sizes, batch, build, forward_flops, peak
from torch.utils.flop_counter import FlopCounterMode

from understudy.models.forward import target_logits

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers, about networks that generate nonsense


@pytest.mark.parametrize("pair", BRIEF.pairs)
def test_the_operations_are_those_that_torch_counts(pair: str) -> None:
    """All products of a forward pass but those of attention's scores and sums, which the formula leaves out."""
    sizes, _, vocabulary = BRIEF.pairs[pair]
    model = build(sizes, vocabulary, seed=0)
    model.set_attn_implementation("eager")  # torch does not count the fused kernel of CPUs
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        target_logits(model, **batch(BRIEF, vocabulary, "cpu", rows=3))
    source, target, row = BRIEF.source, BRIEF.target, BRIEF.source + BRIEF.target - 1
    if "d_model" in sizes:
        pairs = sizes["num_layers"] * (source**2 + target**2 + source * target)
        width = sizes["num_heads"] * sizes["d_kv"]
    else:
        pairs, width = sizes["num_hidden_layers"] * row**2, sizes["hidden_size"]

    # Each of two products, of queries with keys and of weights with values, takes 2 operations.
    assert counter.get_total_flops() - 3 * 4 * width * pairs == forward_flops(model, BRIEF, 3)


def test_the_cpu_agrees_with_itself_in_double_precision() -> None:
    """Loss, gradients, texts and log-probabilities; another network does not agree."""
    found = correctness("cpu", BRIEF)

    assert list(found) == list(BRIEF.pairs)
    assert all(facts["holds"] for facts in found.values())
    sizes, _, vocabulary = BRIEF.pairs["tiny decoder"]
    inputs = batch(BRIEF, vocabulary, "cpu", rows=2)
    one, other = (build(sizes, vocabulary, seed=seed) for seed in (0, 1))
    assert joint_teaching_loss(one, one, inputs).abs() < 1e-5 < joint_teaching_loss(one, other, inputs)


def test_a_part_that_fails_is_a_sentence_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error, a process that ends, a limit; exit code 1, and the JSON object has everything."""

    def broken(_device: str, _sizes: Sizes) -> None:
        raise ValueError("first line\nsecond line")

    def ended(_device: str, _sizes: Sizes) -> None:
        os._exit(3)

    parts: dict[str, Any] = {"broken": (broken, 60), "ended": (ended, 60), "slow": (PARTS["training"][0], 0)}
    for name, part in parts.items():
        monkeypatch.setitem(PARTS, name, part)
    monkeypatch.setitem(PARTS, "fine", (lambda _device, _sizes: {"value": 1.5, "inner": {"count": 2}}, 60))
    words = [word for name in (*parts, "fine") for word in ("--part", name)]
    monkeypatch.setattr("sys.argv", ["gpu.py", "--device", "cpu", *words])

    assert gpu.main() == 1
    out, err = capsys.readouterr()
    found = json.loads(out.splitlines()[-1])["parts"]
    assert found["broken"]["error"] == "ValueError: first line"
    assert found["ended"]["error"] == "its process ended with code 3"
    assert found["slow"]["error"] == "not finished after 0 seconds"
    assert found["fine"]["result"] == {"value": 1.5, "inner": {"count": 2}}
    assert "fine: value 1.5\nfine, inner: count 2" in out
    assert len(err.splitlines()) == 3


def test_the_limits_leave_the_whole_under_eight_minutes() -> None:
    """Also if every part takes its limit; a device that is not in the table has no peak."""
    assert sum(limit for _, limit in PARTS.values()) < 8 * 60
    assert peak("cpu") is None


def test_the_full_pairs_have_the_sizes_that_their_names_say() -> None:
    """Counted without weights."""
    millions = []
    for teacher, student, vocabulary in FULL.pairs.values():
        with torch.device("meta"):
            millions += [
                round(sum(one.numel() for one in build(sizes, vocabulary, seed=0).parameters()) / 1e6)
                for sizes in (teacher, student)
            ]

    assert millions == [223, 61, 498, 59]
