"""The task that needs no download: structured weather forecasts to short bulletins, as many as are asked for.

Which split a forecast belongs to is decided by its own hash: splits are disjoint for all sizes and all
seeds, and a larger request extends a smaller one.
"""

import hashlib
import random
from collections.abc import Mapping

from understudy.demo.forecast_record import Forecast, draw_forecasts, linearise
from understudy.demo.forecast_write import write_bulletin
from understudy.errors import DataError
from understudy.records import Example, TaskData

SHARES = ("labeled",) * 4 + ("unlabeled",) * 4 + ("dev", "test")
"""The split of a forecast, by the last digit of its hash."""


def forecast_task(*, labeled: int, unlabeled: int, dev: int, test: int, references: int = 3, seed: int) -> TaskData:
    """Make the forecast task.

    Args:
        labeled: inputs with one bulletin each.
        unlabeled: inputs whose bulletin is withheld.
        dev: inputs with `references` bulletins each.
        test: the same.
        references: different bulletins per input of dev and test.
        seed: draws forecasts and words.

    Returns:
        The splits, in each as many different inputs as asked for.

    Raises:
        DataError: if a size cannot be met.
    """
    sizes = {"labeled": labeled, "unlabeled": unlabeled, "dev": dev, "test": test}
    if min(*sizes.values(), references - 1) < 0:
        raise DataError(
            f"the forecast task cannot have {sizes} inputs with {references} references; "
            "ask for 0 or more inputs and 1 or more references"
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


def draw_splits(sizes: Mapping[str, int], seed: int) -> dict[str, dict[str, Forecast]]:
    """Split -> source -> forecast, each split filled in the order of the draws."""
    splits: dict[str, dict[str, Forecast]] = {name: {} for name in sizes}
    stream = draw_forecasts(seed)
    while any(len(splits[name]) < size for name, size in sizes.items()):
        forecast = next(stream)
        source = linearise(forecast)
        split = split_of(source)
        if len(splits[split]) < sizes[split]:
            splits[split][source] = forecast
    return splits


def split_of(source: str) -> str:
    """The split a source belongs to, whoever draws it."""
    return SHARES[int.from_bytes(hashlib.sha256(source.encode()).digest()) % len(SHARES)]


def bulletins(forecast: Forecast, count: int, seed: int, *, tries: int = 40) -> tuple[str, ...]:
    """Different bulletins for one forecast, in at most `tries` attempts for each that is asked for."""
    rng = random.Random(f"{seed} {linearise(forecast)}")
    texts: dict[str, None] = {}
    for _ in range(tries * count):
        texts[write_bulletin(forecast, rng)] = None
        if len(texts) == count:
            return tuple(texts)
    raise DataError(
        f"{count} different bulletins were asked for {linearise(forecast)!r}, {len(texts)} were found; "
        "ask for fewer references"
    )
