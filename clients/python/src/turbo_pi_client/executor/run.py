"""A robot under an executor, at the control rate."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable

from ..observation import Observation
from .executor import ChunkExecutor, Tick


class _Pace:
    """Ticks are reckoned from the first, so that they do not drift; those that a slow robot has missed are not made up for."""

    def __init__(self, hertz: float) -> None:
        self._period_s = 1 / hertz
        self._due = time.monotonic()

    def rest_s(self) -> float:
        now = time.monotonic()
        self._due = max(self._due + self._period_s, now)
        return self._due - now


def run_executor(
    executor: ChunkExecutor,
    *,
    hertz: float,
    observe: Callable[[], Observation],
    act: Callable[[Tick], object],
    stop: threading.Event,
) -> None:
    """
    Ticks until `stop` is set. `observe`: what the robot sees; called when a chunk is due. `act` carries out the action of a
    tick.
    """
    pace = _Pace(hertz)
    while not stop.is_set():
        act(executor.tick(observe))
        stop.wait(pace.rest_s())


async def run_executor_async(
    executor: ChunkExecutor,
    *,
    hertz: float,
    observe: Callable[[], Observation],
    act: Callable[[Tick], Awaitable[object] | object],
) -> None:
    """The same on an event loop, until its task is cancelled."""
    pace = _Pace(hertz)
    while True:
        done = act(executor.tick(observe))
        if inspect.isawaitable(done):
            await done
        await asyncio.sleep(pace.rest_s())
