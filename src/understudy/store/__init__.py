"""Where it lies: a run on disk, stage by stage, written so that a kill loses nothing that was finished."""

from understudy.store.stages import Finished, Store

__all__ = ["Finished", "Store"]
