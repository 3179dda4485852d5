"""The store: stages on disk, made once and found by the hash of their fields; nothing that was finished is lost."""

from understudy.store.stage import Content, Stage, WorkerContext
from understudy.store.store import Store

__all__ = ["Content", "Stage", "Store", "WorkerContext"]
