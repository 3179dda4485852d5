"""The teacher at work: it writes pseudo-targets into the pool."""

from understudy.pool.generate import generate_pool

__all__ = ["generate_pool"]
