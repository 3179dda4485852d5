"""The teacher at work: it writes pseudo-targets into the pool."""

from understudy.teacher.writing import write_pool

__all__ = ["write_pool"]
