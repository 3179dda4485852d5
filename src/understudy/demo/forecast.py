"""Generates the forecast task: structured weather forecasts to short bulletins, in any number, without a download.

The hash of a forecast decides its split, so splits are disjoint for all sizes and all seeds. Larger sizes extend the
splits of smaller ones.
"""

import hashlib
import random
from collections.abc import Mapping

from understudy.demo.forecast_record import ForecastRecord, draw_forecasts, linearize
from understudy.demo.forecast_write import write_bulletin
from understudy.errors import DataError
from understudy.records import Example, TaskData

SHARES = ("labeled",) * 4 + ("unlabeled",) * 4 + ("dev", "test")
"""The split of a forecast, by the last digit of its hash."""


def forecast_task(*, labeled: int, unlabeled: int, dev: int, test: int, references: int = 3, seed: int) -> TaskData:
    """Generates the forecast task.

    Args:
        labeled: number of inputs with one bulletin each.
        unlabeled: number of inputs whose bulletin is withheld.
        dev: number of inputs with `references` bulletins each.
        test: as `dev`.
        references: number of different bulletins per input of dev and test.
        seed: seed of forecasts and wording.

    Returns:
        The splits, each with as many different inputs as requested.

    Raises:
        DataError: if a size is negative, or there are fewer different bulletins than `references`.
    """
    sizes = {"labeled": labeled, "unlabeled": unlabeled, "dev": dev, "test": test}
    if min(*sizes.values(), references - 1) < 0:
        raise DataError(
            f"the forecast task cannot have {sizes} inputs with {references} references; request at least 0 inputs "
            "and at least 1 reference"
        )
    forecasts = draw_splits(sizes, seed)
    splits = {
        name: tuple(
            Example(f"{name}-{number}", source, bulletins(forecast, references if name in {"dev", "test"} else 1, seed))
            for number, (source, forecast) in enumerate(split.items(), start=1)
        )
        for name, split in forecasts.items()
    }
    withheld = splits["unlabeled"]
    inputs = tuple(Example(example.id, example.source) for example in withheld)
    return TaskData(splits["labeled"], inputs, splits["dev"], splits["test"], withheld)


def draw_splits(sizes: Mapping[str, int], seed: int) -> dict[str, dict[str, ForecastRecord]]:
    """Split -> source -> forecast; each split is filled in the order in which the forecasts are drawn."""
    splits: dict[str, dict[str, ForecastRecord]] = {name: {} for name in sizes}
    stream = draw_forecasts(seed)
    while any(len(splits[name]) < size for name, size in sizes.items()):
        forecast = next(stream)
        source = linearize(forecast)
        split = split_of(source)
        if len(splits[split]) < sizes[split]:
            splits[split][source] = forecast
    return splits


def split_of(source: str) -> str:
    """The split of a source, independent of the seed."""
    return SHARES[int.from_bytes(hashlib.sha256(source.encode()).digest()) % len(SHARES)]


def bulletins(forecast: ForecastRecord, count: int, seed: int, *, tries: int = 40) -> tuple[str, ...]:
    """Different bulletins for one forecast, in at most `tries` attempts per bulletin."""
    rng = random.Random(f"{seed} {linearize(forecast)}")
    texts: dict[str, None] = {}
    for _ in range(tries * count):
        texts[write_bulletin(forecast, rng)] = None
        if len(texts) == count:
            return tuple(texts)
    raise DataError(
        f"{count} different bulletins were requested for {linearize(forecast)!r}, {len(texts)} were found; request "
        "fewer references"
    )
