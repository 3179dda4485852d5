"""Facts of an invented run, in the form in which the pipeline collects them."""

from collections.abc import Callable

import pytest
from tests.report.study_facts import results_example

from understudy.report.content_facts import Interval
from understudy.report.facts import CurvePoint, ExampleFacts, Facts, PoolFacts, SystemFacts
from understudy.report.page import render
from understudy.report.table_facts import ResultsTable

SOURCES = [
    "name[The Golden Palace], eatType[coffee shop], food[Indian], priceRange[cheap], customer rating[5 out of 5]",
    "name[Wildwood], eatType[pub], food[Fast food], area[riverside], near[Raja Indian Cuisine]",
    "name[Browns Cambridge], food[Italian], familyFriendly[yes], near[Crowne Plaza Hotel]",
]
TEXTS = {
    "teacher": "The Golden Palace is a cheap Indian coffee shop rated 5 out of 5.",
    "fine_tuned": "The Golden Palace is a coffee shop that serves Indian food.",
    "joint_teaching": "The Golden Palace is a cheap coffee shop with Indian food and a rating of 5 out of 5.",
}


def interval(value: float, half: float) -> Interval:
    """A symmetric interval."""
    return {"value": value, "low": value - half, "high": value + half}


def system(name: str, bleu: float, rouge: float, *, millions: float, milliseconds: float) -> SystemFacts:
    """A system whose costs grow with its size."""
    scores = {"bleu": ("BLEU", bleu, 1.1), "rouge": ("ROUGE", rouge, 0.6)}
    return {
        "name": name,
        "parameters": int(millions * 1e6),
        "disk_bytes": int(millions * 4e6),
        "scores": {
            metric: {
                "value": value,
                "low": value - half,
                "high": value + half,
                "signature": f"{metric}|data:c0ffee12|split:test|n:630|decoding:beam.4|understudy:0.1.0",
                "label": label,
                "higher_is_better": True,
            }
            for metric, (label, value, half) in scores.items()
        },
        "latency_ms": {"p50": milliseconds, "p95": 1.4 * milliseconds},
        "throughput_per_s": 4000 / milliseconds,
        "peak_memory_bytes": int(60e6 + millions * 5e6),
    }


def curve(start: float, end: float, *, steps: int) -> list[CurvePoint]:
    """A training run whose dev score rises quickly at first."""
    return [
        {
            "step": 200 * (i + 1),
            "epoch": (i + 1) / 2,
            "seconds": 21.0 * (i + 1),
            "train_loss": 3.2 * 0.78**i + 60 / end - 0.5,
            "dev": {"bleu": end - (end - start) * 0.7**i},
        }
        for i in range(steps)
    ]


def pool() -> PoolFacts:
    """The statistics of a pool with eight texts per input, and three sampled rows."""
    return {
        "texts": 32_008,
        "inputs": 4_001,
        "per_input": 8.0,
        "duplicates": 0.183,
        "distinct": 0.771,
        "unfinished": 0.0004,
        "logprob_per_token": -0.412,
        "lengths": {
            "mean": 28.4,
            "p5": 12.0,
            "p50": 27.0,
            "p95": 49.0,
            "max": 71,
            "edges": [5.5 + 4 * i for i in range(12)],
            "counts": [90, 700, 2900, 6100, 7800, 6500, 4200, 2300, 950, 400, 68],
        },
        "generators": {"teacher": 24_006, "student": 8_002},
        "samples": [
            {
                "input_id": f"train-{i}",
                "source": source,
                "text": TEXTS["teacher"],
                "logprob_per_token": -0.31 - 0.1 * i,
                "copies": 1 + i,
                "tokens": 21 + i,
                "generator": "student" if i == 2 else "teacher",
                "round": i // 2,
            }
            for i, source in enumerate(SOURCES)
        ],
    }


def example(place: int, source: str) -> ExampleFacts:
    """An example; three in a row have the three tags."""
    return {
        "id": f"test-{place}",
        "source": source,
        "references": [
            "The Golden Palace serves cheap Indian food and has a rating of 5 out of 5.",
            "With 5 out of 5 stars, The Golden Palace is a low-priced Indian coffee shop.",
        ],
        "predictions": TEXTS,
        "scores": {"teacher": 61.2, "fine_tuned": 48.0, "joint_teaching": 63.5},
        "tag": ("best", "worst", "random")[place % 3],
    }


def facts_example() -> Facts:
    """A distilled student that closes 71 % of the gap."""
    return {
        "task": "e2e",
        "primary_metric": "bleu",
        "systems": [
            system("teacher", 65.9, 68.7, millions=4.26, milliseconds=38.4),
            system("fine_tuned", 59.8, 65.2, millions=0.604, milliseconds=9.1),
            system("joint_teaching", 64.1, 67.9, millions=0.604, milliseconds=9.2),
        ],
        "gap_closed": {
            "bleu": {"value": 0.71, "low": 0.62, "high": 0.80},
            "rouge": {
                "value": None,
                "low": None,
                "high": None,
                "note": "on rouge the teacher is not clearly better than the fine-tuned student",
            },
        },
        "method": "joint_teaching",
        "run": "e2e-joint",
        "seed": 13,
        "split": "test",
        "recipe": "task:\n  files: {labeled: train.jsonl}\ndistil:\n  method: joint_teaching\n",
        "differences": {"bleu": interval(4.3, 0.8), "rouge": interval(0.3, 0.6)},
        "curves": {
            "teacher": curve(30, 66, steps=12),
            "fine_tuned": curve(18, 60, steps=8),
            "joint_teaching": curve(20, 64.5, steps=16),
        },
        "pool": pool(),
        "examples": [example(place, source) for place, source in enumerate(SOURCES)],
        "example_metric": "chrf",
        "example_metric_label": "chrF",
        "stages": [
            {"name": "teacher", "key": "7c1f0a52", "seconds": 261.0, "reused": True},
            {"name": "pool", "key": "90be77d1", "seconds": 148.2, "reused": False},
            {"name": "distil", "key": "1d02c4aa", "seconds": 4031.0, "reused": False},
            {"name": "evaluate", "key": "e55a9f30", "seconds": 41.7, "reused": False},
        ],
        "data": {"labeled": 2_001, "unlabeled": 2_000, "dev": 547, "test": 630},
        "benchmark_conditions": "ctranslate2 on cpu, 2 threads, latency at batch 1, throughput at batch 32",
        "notes": [
            "The scores are from one seed; repeat the run with other seeds before you rely on small differences."
        ],
        "versions": {"understudy": "0.1.0", "torch": "2.13.0", "python": "3.11.9"},
    }


@pytest.fixture
def facts() -> Facts:
    """A distilled student that closes 71 % of the gap."""
    return facts_example()


@pytest.fixture(scope="session")
def html() -> str:
    """The page of these facts, rendered once because it takes most of a second."""
    return render(facts_example())


@pytest.fixture
def with_result() -> Callable[[Interval | None, Interval], Facts]:
    """A function that changes the difference from the fine-tuned student and the share of the gap."""

    def changed(difference: Interval | None, gap: Interval) -> Facts:
        facts = facts_example()
        facts["differences"] = {"bleu": difference} if difference else {}
        facts["gap_closed"] = {"bleu": gap}
        return facts

    return changed


@pytest.fixture
def results() -> ResultsTable:
    """A study with two methods on two tasks."""
    return results_example()
