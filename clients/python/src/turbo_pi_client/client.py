"""A robot's connection to a Turbo-Pi server, for programs without asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy.typing as npt

from .aio import AsyncTurboPiClient
from .chunk import ActionChunk
from .core.server_clock import TimeSample
from .events import EventName, Listener, Ready
from .loop_thread import LoopThread
from .observation import MarkKind, Observation, ObserveOptions, observed
from .stream import AsyncChunkStream


class TurboPiClient:
    """
    AsyncTurboPiClient on a thread of its own, which answers heartbeats and reconnects whatever the caller does. It may be
    used from many threads.
    """

    def __init__(self, loop: LoopThread, client: AsyncTurboPiClient) -> None:
        self._loop = loop
        self._client = client
        self._closed = False

    @classmethod
    def connect(cls, url: str, *, wait_ms: float = 60_000, **options: Any) -> TurboPiClient:
        """As AsyncTurboPiClient.connect does it, with its options."""
        loop = LoopThread("turbo-pi-client")
        try:
            return cls(loop, loop.run(AsyncTurboPiClient.connect(url, wait_ms=wait_ms, **options)))
        except BaseException:
            loop.close()
            raise

    @property
    def metadata(self) -> Ready:
        return self._client.metadata

    @property
    def session(self) -> str | None:
        return self._client.session

    @property
    def ready(self) -> bool:
        return self._client.ready

    @property
    def generation(self) -> int:
        return self._client.generation

    @property
    def server_clock(self) -> TimeSample | None:
        return self._client.server_clock

    def on(self, event: EventName, listener: Listener) -> Callable[[], None]:
        """Listeners are called on the client's thread; they must neither raise nor wait for this client."""
        return self._client.on(event, listener)

    def infer(self, observation: Observation, options: ObserveOptions | None = None) -> ActionChunk:
        """One observation, one chunk. Raises a ClientError; an interrupt (Ctrl-C) ends the call."""
        return self._loop.run(self._client.infer(observation, options))

    def submit(self, observation: Observation, options: ObserveOptions | None = None) -> Future[ActionChunk]:
        """`infer` that is not waited for; `cancel()` of the future ends the call."""
        return self._loop.submit(self._client.infer_observed(observed(observation, options)))

    def stream(self) -> ChunkStream:
        return ChunkStream(self._loop, self._loop.call(self._client.stream))

    def reset(self) -> None:
        self._loop.call(self._client.reset)

    def executed(self, action: npt.ArrayLike, chunk: ActionChunk | None = None, row: int | None = None) -> bool:
        """As AsyncTurboPiClient.executed."""
        return self._loop.call(lambda: self._client.executed(action, chunk, row))

    def mark(self, kind: MarkKind, text: str | None = None) -> bool:
        """As AsyncTurboPiClient.mark."""
        return self._loop.call(lambda: self._client.mark(kind, text))

    def clear_hold(self) -> bool:
        return self._loop.call(self._client.clear_hold)

    def measure_link(self, timeout_ms: float = 1000) -> TimeSample:
        return self._loop.run(self._client.measure_link(timeout_ms))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.run(self._client.close())
        self._loop.close()

    def __enter__(self) -> TurboPiClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ChunkStream:
    """AsyncChunkStream for programs without asyncio: one thread pushes, the same or another one fetches."""

    def __init__(self, loop: LoopThread, stream: AsyncChunkStream) -> None:
        self._loop = loop
        self._stream = stream

    def push(self, observation: Observation, options: ObserveOptions | None = None) -> None:
        """Sends an observation as soon as there is room; waits for nothing of the network."""
        given = observed(observation, options)
        self._loop.call(lambda: self._stream.push_observed(given))

    def get(self, timeout_s: float | None = None) -> ActionChunk | None:
        """The freshest chunk that was not fetched yet; None when there is none in time, or when the stream is closed."""
        return self._loop.run(self._next(timeout_s))

    async def _next(self, timeout_s: float | None) -> ActionChunk | None:
        try:
            return await asyncio.wait_for(self._stream.__anext__(), timeout_s)
        except (asyncio.TimeoutError, StopAsyncIteration):
            return None

    def __iter__(self) -> Iterator[ActionChunk]:
        while (chunk := self.get()) is not None:
            yield chunk

    def close(self) -> None:
        self._loop.call(self._stream.close)

    def __enter__(self) -> ChunkStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
