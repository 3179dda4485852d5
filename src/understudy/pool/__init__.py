"""Pseudo-targets on disk: written in shards, read as one pool, looked at.

Knows no model, no tokenizer and no recipe: a text is a row with its token ids, its log-probability and
where it came from. Who asks for which shards, and in which folder, is the pipeline's business.
"""

from understudy.pool.pool import PoolStatistics, PseudoTargetPool, mark_copies
from understudy.pool.shards import PoolFile, read_shard, write_shard
from understudy.pool.show import ShownRow, show_rows

__all__ = [
    "PoolFile",
    "PoolStatistics",
    "PseudoTargetPool",
    "ShownRow",
    "mark_copies",
    "read_shard",
    "show_rows",
    "write_shard",
]
