"""Work: told of step by step, stopped between two steps, and never waited for in vain."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from wordbrush.errors import Cancelled, SettingsError
from wordbrush.web.state.work import Done, Work, run_work


@pytest.fixture
def device() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def all_of(device: ThreadPoolExecutor, function: Callable[[Work], Any], on_end: Callable[[], None]) -> list[Any]:
    async def gather() -> list[Any]:
        return [state async for state in run_work(device, function, threading.Event(), on_end=on_end)]

    async def bounded() -> list[Any]:
        return await asyncio.wait_for(gather(), 20)

    return asyncio.run(bounded())


class Late(ThreadPoolExecutor):
    """A device whose futures are done a moment after their work has told its last."""

    def submit(self, function: Any, /, *args: Any, **keywords: Any) -> Any:
        def late() -> Any:
            value = function(*args, **keywords)
            time.sleep(0.02)
            return value

        return super().submit(late)


@pytest.mark.parametrize("pause", [0.0, 0.001, 0.049, 0.051])
def test_work_that_ends_right_after_telling_is_not_waited_for_in_vain(pause: float) -> None:
    """The end may arrive together with the last state, and before the future is done."""

    def tell(work: Work) -> int:
        work.start("first")
        time.sleep(pause)
        work.start("last")
        return 7

    with Late(1) as device:
        for _ in range(5):
            ended = threading.Event()
            *states, done = all_of(device, tell, ended.set)
            assert isinstance(done, Done)
            assert done.value == 7
            assert states[-1]["title"] == "last"
            assert ended.is_set()


def test_what_work_raises_is_raised(device: ThreadPoolExecutor) -> None:
    def tell(work: Work) -> None:
        raise SettingsError("no")

    with pytest.raises(SettingsError, match="no"):
        all_of(device, tell, lambda: None)


def test_stopped_work_that_waits_never_begins(device: ThreadPoolExecutor) -> None:
    begun: list[Work] = []

    async def scene() -> None:
        hold, stop = threading.Event(), threading.Event()
        device.submit(hold.wait, 20)
        states = run_work(device, begun.append, stop)
        waiting = asyncio.ensure_future(anext(states))
        await asyncio.sleep(0.1)
        stop.set()
        hold.set()
        with pytest.raises(Cancelled):
            await asyncio.wait_for(waiting, 20)

    asyncio.run(scene())
    assert begun == []


def test_closing_stops_the_work_at_its_next_step(device: ThreadPoolExecutor) -> None:
    steps = []

    def tell(work: Work) -> None:
        for step in range(1000):
            work.start(str(step))
            steps.append(step)
            time.sleep(0.01)

    async def scene() -> None:
        states = run_work(device, tell, threading.Event())
        await asyncio.wait_for(anext(states), 20)
        await states.aclose()

    asyncio.run(scene())
    device.submit(int).result(20)  # what was begun has ended
    assert len(steps) < 100
