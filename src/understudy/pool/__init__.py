"""Pseudo-targets on disk: generated file by file, read as one pool, filtered and shown.

A pseudo-target is a row with its token ids, its log-probability and its provenance. This package does not depend on
models, tokenizers or the recipe; the pipeline decides which files a pool has and where they lie.
"""

from understudy.pool.pool import PoolStatistics, PseudoTargetPool
from understudy.pool.pool_files import PoolFile, read_pool_file, write_pool_file
from understudy.pool.show import ShownRow, show_rows

__all__ = [
    "PoolFile",
    "PoolStatistics",
    "PseudoTargetPool",
    "ShownRow",
    "read_pool_file",
    "show_rows",
    "write_pool_file",
]
