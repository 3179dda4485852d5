"""Drift: distances of distributions, alarms that do not repeat, and what a server watches."""

import logging
import random

import pytest
from tests.running_server import Served

from understudy.pipeline.inspect.deploy import dev_texts
from understudy.pipeline.run import Run
from understudy.records import Prediction
from understudy.serving.deployment import Answering
from understudy.serving.drift import (
    BYTE_TOKENS,
    CONFIDENCE,
    DEFERRED,
    TEXT_TOKENS,
    WINDOW,
    Drift,
    dev_values,
    ks_distance,
)
from understudy.serving.metrics import ServerMetrics


def test_the_distance_is_the_largest_difference_of_shares() -> None:
    """As counted by the definition; 0 for equal samples, 1 for separate ones, the difference for shares."""
    rng = random.Random(0)
    one = [rng.choice((0.1, 0.2, 0.5, rng.random())) for _ in range(40)]
    other = [rng.choice((0.2, 0.5, rng.random() ** 2)) for _ in range(31)]

    def share(sample: list[float], most: float) -> float:
        return sum(value <= most for value in sample) / len(sample)

    expected = max(abs(share(one, value) - share(other, value)) for value in one + other)
    assert ks_distance(one, other) == pytest.approx(expected)
    assert ks_distance(one, one[::-1]) == 0
    assert ks_distance([1, 2], [3]) == 1
    assert ks_distance([0.0] * 3 + [1.0], [0.0] * 1 + [1.0]) == pytest.approx(0.25)


def test_an_alarm_is_one_line_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """Values as on dev are none; others are one, however many follow; the end is a line too."""
    caplog.set_level(logging.INFO, "understudy")
    metrics = ServerMetrics()
    as_dev = [number / 250 for number in range(250)]
    drift = Drift({CONFIDENCE: as_dev}, 0.2, metrics)

    def observe(values: list[float], times: int) -> list[str]:
        caplog.clear()
        for _ in range(times):
            for value in values:
                drift.observe(CONFIDENCE, value)
        return [record.message for record in caplog.records]

    def gauge(name: str) -> float | None:
        return metrics.registry.get_sample_value(name, {"quantity": CONFIDENCE})

    shuffled = random.Random(1).sample(as_dev, len(as_dev))
    assert observe(shuffled, 2) == []
    assert gauge("understudy_drift") == pytest.approx(0, abs=0.01)
    (line,) = observe([0.9], 2 * WINDOW)
    assert line.startswith("WARNING: drift of confidence")
    assert "on dev 0.498" in line
    assert gauge("understudy_drift") == pytest.approx(0.9, abs=0.01)  # 90 % of dev's values are below it
    assert gauge("understudy_drift_alarm") == 1
    (line,) = observe(shuffled, 2)
    assert line.startswith("no more drift of confidence")
    assert gauge("understudy_drift_alarm") == 0


def test_few_values_of_dev_are_no_evidence(caplog: pytest.LogCaptureFixture) -> None:
    """Six values differ from others by chance; unknown quantities are not watched."""
    drift = Drift({TEXT_TOKENS: [1, 2, 3, 4, 5, 6], DEFERRED: []}, 0.2, ServerMetrics())
    for number in range(WINDOW):
        drift.observe(TEXT_TOKENS, number % 4)
        drift.observe(DEFERRED, 1.0)
    assert caplog.records == []


def test_what_a_run_recorded_of_dev_is_what_its_student_answers(finished: Run, served: Served) -> None:
    """Confidence and length of each text; a share of deferred ones only where some can be."""
    dev = dev_texts(finished.folder)
    answers = Answering.answers(served.engine, dev.sources)
    assert dev.confidences == pytest.approx([answer.confidence for answer in answers], abs=1e-4)
    assert dev.tokens == tuple(answer.tokens for answer in answers)
    values = dev_values(dev, served.engine, lambda confidence: confidence < 2)
    assert values[DEFERRED] == [1.0] * len(dev.sources)
    assert dev_values(dev, served.engine, None)[DEFERRED] == []
    assert served.engine.byte_share(served.engine.encode(["wind"])[0]) == 0
    assert served.engine.byte_share(served.engine.encode(["😀" * 9])[0]) > 0.8


def test_a_server_compares_its_requests_with_dev(finished: Run, served: Served, predictions: list[Prediction]) -> None:
    """After a hundred sources; those that ask for another decoding say nothing about texts."""
    sources = [predictions[number % len(predictions)].source for number in range(60)]
    before = served.metric(f'understudy_drift{{quantity="{BYTE_TOKENS}"}}')
    served.client.completions.create(model="tiny", prompt=sources, max_tokens=2)
    served.client.completions.create(model="tiny", prompt=["😀😀"] * 60, max_tokens=2)
    assert served.metric(f'understudy_drift{{quantity="{BYTE_TOKENS}"}}') > before
    served.client.completions.create(model="tiny", prompt=sources)
    served.client.completions.create(model="tiny", prompt=sources)
    dev = dev_texts(finished.folder)
    tokens = [answer.tokens for answer in Answering.answers(served.engine, sources)]
    distance = served.metric(f'understudy_drift{{quantity="{TEXT_TOKENS}"}}')
    assert distance == pytest.approx(ks_distance(tokens, dev.tokens), abs=0.1)
