"""Observations in at the camera's pace, the freshest chunks out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .chunk import ActionChunk
from .core.calls import Settle
from .errors import RemoteError
from .observation import Observation, Observed, ObserveOptions, observed


class AsyncChunkStream:
    """
    Latest wins, on the robot's side, too: an observation that finds no room on its way is replaced by the next one, and a
    chunk that nobody has fetched by a newer one. Iterate it for chunks; the iteration ends with `close` and raises
    what the server reports. Observations that are skipped, or lost with their connection, leave no trace: newer ones
    follow.
    """

    def __init__(self, call: Callable[[Observed, Settle], None], on_close: Callable[[], None]) -> None:
        self._call = call
        self._on_close = on_close
        self._chunk: ActionChunk | None = None
        self._error: Exception | None = None
        self._closed = False
        self._woken = asyncio.Event()

    def push(self, observation: Observation, options: ObserveOptions | None = None) -> None:
        """Sends an observation as soon as there is room."""
        self.push_observed(observed(observation, options))

    def push_observed(self, given: Observed) -> None:
        if self._closed:
            raise RuntimeError("The stream is closed.")
        self._call(given, self._settle)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._on_close()
        self._woken.set()

    def fail(self, error: Exception) -> None:
        """Throws an error into the iteration."""
        self._error = error
        self._woken.set()

    def _settle(self, outcome: ActionChunk | Exception) -> None:
        if isinstance(outcome, ActionChunk):
            self._chunk = outcome
            self._woken.set()
        elif isinstance(outcome, RemoteError):
            self.fail(outcome)

    def __aiter__(self) -> AsyncChunkStream:
        return self

    async def __anext__(self) -> ActionChunk:
        while self._chunk is None and self._error is None and not self._closed:
            self._woken.clear()
            await self._woken.wait()
        chunk, error = self._chunk, self._error
        self._chunk = self._error = None
        if chunk is not None:
            return chunk
        if error is not None:
            raise error
        raise StopAsyncIteration

    async def __aenter__(self) -> AsyncChunkStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
