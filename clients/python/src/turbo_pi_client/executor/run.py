"""A robot under an executor, at the control rate."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import numpy.typing as npt

from ..chunk import ActionChunk
from ..observation import Observation
from .executor import ChunkExecutor, Tick


class ActionReporter(Protocol):
    """What hears of every action that is commanded, for the server's recording: a client."""

    def executed(self, action: npt.ArrayLike, chunk: ActionChunk | None = None, row: int | None = None) -> bool: ...


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
    report: ActionReporter | None = None,
) -> None:
    """
    Ticks until `stop` is set. `observe`: what the robot sees; called when a chunk is due. `act` carries out the action of a
    tick. `report` is told what `act` was given, where the server records.
    """
    pace = _Pace(hertz)
    while not stop.is_set():
        tick = executor.tick(observe)
        act(tick)
        _tell(report, tick)
        stop.wait(pace.rest_s())


async def run_executor_async(
    executor: ChunkExecutor,
    *,
    hertz: float,
    observe: Callable[[], Observation],
    act: Callable[[Tick], Awaitable[object] | object],
    report: ActionReporter | None = None,
) -> None:
    """The same on an event loop, until its task is cancelled."""
    pace = _Pace(hertz)
    while True:
        tick = executor.tick(observe)
        done = act(tick)
        _tell(report, tick)
        if inspect.isawaitable(done):
            await done
        await asyncio.sleep(pace.rest_s())


def _tell(report: ActionReporter | None, tick: Tick) -> None:
    if report is not None and tick.action is not None:
        report.executed(tick.action, tick.chunk, tick.row)
