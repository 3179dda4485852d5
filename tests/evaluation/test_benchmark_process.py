import os
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest
from tests.sizes import small
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from understudy.config.decoding import Greedy, PoolDecoding
from understudy.evaluation.benchmark_process import latencies_ms, throughput_per_s
from understudy.evaluation.efficiency import CHILD, Workload, measure_efficiency
from understudy.models.checkpoint import disk_bytes, parameter_count, save_network
from understudy.models.scratch import build_network
from understudy.models.tokenizers import train_tokenizer
from understudy.records import Generated

WORKLOAD = Workload(
    sources=((5,), (6, 6), (7,), (8,), (9,)), decoding=Greedy(), max_tokens=4, batch_size=2, latency_inputs=4
)


class ClockedEngine:
    """An engine whose clock runs one second per token it reads, and a tenth per call."""

    name = "clocked"

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[Sequence[int], ...]] = []

    def score(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[list[float]]:
        """Is not called."""
        raise NotImplementedError

    def generate(
        self,
        sources: Sequence[Sequence[int]],
        decoding: PoolDecoding,
        *,
        per_source: int = 1,
        max_tokens: int,
        seed: int | None = 0,
        stop_ids: Collection[int] = (),
        progress: Callable[[int], None] | None = None,
    ) -> list[tuple[Generated, ...]]:
        """Write one token each, take time."""
        self.calls.append(tuple(sources))
        self.now += 0.1 + sum(map(len, sources))
        return [(Generated((1,), 0.0),) for _ in sources]

    def clock(self) -> float:
        """Seconds since the start."""
        return self.now


def test_latency_is_the_time_of_one_source_alone() -> None:
    """Three warm-ups are not timed, then each source is answered by itself."""
    engine = ClockedEngine()
    latencies = latencies_ms(engine, WORKLOAD, clock=engine.clock)

    assert latencies == pytest.approx([1100, 2100, 1100, 1100])
    assert engine.calls == [((5,),), ((6, 6),), ((7,),), ((5,),), ((6, 6),), ((7,),), ((8,),)]


def test_throughput_is_outputs_over_the_time_of_all_batches() -> None:
    """Five sources in batches of two are three calls, and three passes are made."""
    engine = ClockedEngine()
    throughput = throughput_per_s(engine, WORKLOAD, clock=engine.clock)

    assert throughput == pytest.approx(5 / (3 * 0.1 + 6))
    assert engine.calls == 3 * [((5,), (6, 6)), ((7,), (8,)), ((9,),)]


@pytest.fixture(scope="module")
def network_and_tokenizer() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A BART with random weights and a tokenizer of a few words."""
    tokenizer = train_tokenizer(["snow in the north", "rain in the south"], vocab_size=150)
    network = build_network(
        small(feed_forward=32),
        tokenizer,
        max_positions=32,
        seed=0,
    )
    return network, tokenizer


def test_a_checkpoint_is_measured_in_a_process_of_its_own(
    tmp_path: Path, network_and_tokenizer: tuple[PreTrainedModel, PreTrainedTokenizerBase]
) -> None:
    """Sizes are those of the folder, the rest is positive, and the circumstances are named."""
    network, tokenizer = network_and_tokenizer
    folder = tmp_path / "network"
    save_network(network, tokenizer, folder)
    workload = WORKLOAD.model_copy(update={"engine": "ctranslate2"})
    cost = measure_efficiency(folder, workload, workspace=tmp_path / "engines")

    assert cost.parameters == parameter_count(network)
    assert cost.disk_bytes == disk_bytes(folder) > 4 * cost.parameters
    assert 0 < cost.latency_p50_ms <= cost.latency_p95_ms
    assert cost.throughput_per_s > 0
    assert cost.peak_memory_bytes > 0
    assert cost.how == (
        "ctranslate2 on cpu, 1 thread, decoding greedy, at most 4 tokens, latency of 4 inputs at batch 1, "
        "throughput of 5 inputs at batch 2"
    )


def test_the_measuring_process_ends_with_its_caller() -> None:
    """It would wait for its workload forever; the caller's pipe closes, however the caller ends."""
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", CHILD, "folder", "workspace", str(reading)], stdin=subprocess.PIPE, pass_fds=[reading]
    ) as child:
        os.close(reading)
        os.close(writing)
        assert child.wait() == 1
