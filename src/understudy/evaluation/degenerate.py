"""Degenerate outputs as metrics: the share of texts that repeat themselves, and of empty ones.

They are no entries of `METRICS`: every report counts them, whatever the task's metrics are.
"""

from collections.abc import Callable

import numpy as np

from understudy.evaluation.diversity import repeats
from understudy.evaluation.scoring import Metric, on_texts
from understudy.evaluation.tally import mean_per_example, ratio


def _share(name: str, label: str, is_such: Callable[[str], bool]) -> Metric:
    """The percentage of the outputs that are such."""
    statistics = on_texts(lambda own: mean_per_example(np.array([100.0 * is_such(one.text) for one in own])))
    return Metric(name, label, statistics, ratio, higher_is_better=False, needs_references=False)


REPETITION = _share("repetition", "Outputs that repeat", repeats)
EMPTY = _share("empty", "Empty outputs", lambda text: not text.strip())
