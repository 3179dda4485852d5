"""The results of Calderon et al. 2023 (arXiv 2305.02031), for comparison with a study: Table 3 and the decisions.

The values are shares of the gap closed on dev in percent, mean over model pairs and metrics, and wins of 32 = 4 tasks
x 4 metrics x 2 pairs. The mean over tasks is computed here; the paper does not give it.
"""

import re
from typing import NamedTuple

PAPER_TASKS = ("XS", "SQ", "AR", "SH")
"""XSUM40, SQuAD17, ART10, Shake7."""


class PaperRow(NamedTuple):
    """A row of Table 3, with the four tasks in the order of `PAPER_TASKS`."""

    paper_stage: str
    tasks: tuple[float, float, float, float]
    wins: int

    @property
    def mean(self) -> float:
        """The mean over the four tasks."""
        return sum(self.tasks) / len(self.tasks)


TABLE_3 = {
    "Logits": PaperRow("S3", (30.2, 39.7, 25.7, 41.9), 13),
    "Noisy": PaperRow("S3", (30.3, 37.3, 35.2, 41.8), 14),
    "Attention relations": PaperRow("S3", (31.3, 28.4, 19.7, 21.4), 5),
    "Sequence-level": PaperRow("S4", (13.8, -9.1, 4.2, 4.2), 0),
    "Logits + single PT": PaperRow("S4", (33.2, 30.8, 27.9, 49.0), 22),
    "+ unlabelled": PaperRow("S5", (55.8, 47.1, 41.5, 70.0), 32),
    "K beams": PaperRow("S6", (63.6, 56.3, 45.7, 74.7), 4),
    "Sampling": PaperRow("S7", (73.0, 58.4, 48.2, 81.7), 15),
    "High-temperature sampling": PaperRow("S7", (70.0, 63.9, 44.8, 81.8), 12),
    "Only student PTs": PaperRow("S8", (68.7, 63.9, 43.9, 79.4), 3),
    "Joint-Teaching": PaperRow("S8", (80.8, 66.7, 48.2, 87.7), 25),
}
PAPER_CONTESTS = 32

PAPER_CHOICES = {
    "S1": "encoder-decoder networks",
    "S2": "the whole student and the one with a pruned decoder",
    "S3": "Logits",
    "S4": "Logits + single PT",
    "S5": "+ unlabelled",
    "S6": "K beams",
    "S7": "Sampling",
    "S8": "Joint-Teaching",
}
"""Paper stage -> the option that the paper keeps."""


def paper_row(method: str) -> PaperRow | None:
    """The paper's row with this name, ignoring spaces, hyphens and case; None if there is none."""
    return {_letters(name): row for name, row in TABLE_3.items()}.get(_letters(method))


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.casefold())
