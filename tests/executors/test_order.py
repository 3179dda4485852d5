"""The order of stages that are ready: those that became ready last come first."""

import pytest
from tests.store.toy_stages import Text

from understudy.executors.local import Local
from understudy.executors.processes import Processes
from understudy.store import Store, WorkerContext
from understudy.store.store import AnyStage, Executor


@pytest.mark.parametrize("executor", [Local(), Processes(1)], ids=["local", "processes"])
def test_what_a_finished_stage_makes_ready_comes_before_what_was_ready(
    executor: Executor, store: Store, context: WorkerContext
) -> None:
    """Three chains of three stages are made nearly one after the other, so that results appear early.

    A worker process begins its next stage before the caller can submit those that became ready.
    """
    first = [Text(f"{chain}1") for chain in "abc"]
    second = [Text(f"{one.text[0]}2", (one,)) for one in first]
    third = [Text(f"{one.text[0]}3", (one,)) for one in second]
    order: list[str] = []

    def observe(stage: AnyStage, _outcome: object) -> None:
        assert isinstance(stage, Text)
        order.append(stage.text)

    store.get_all(third, executor, context, observe=observe)

    if isinstance(executor, Local):
        assert order == ["a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3"]
    else:
        assert order.index("a3") < order.index("c1")
