"""A robot's connection to a Turbo-Pi server, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .chunk import ActionChunk
from .core.calls import Settle
from .core.core import CoreOptions
from .core.messages import Message
from .core.server_clock import TimeSample
from .driver import Driver, jitter
from .errors import ClientError, DeadlineError, LinkError, SkippedError
from .events import Event, EventName, Listener, Lost, Ready, Reconnecting, ready_of
from .observation import MarkKind, Observation, Observed, ObserveOptions, observed
from .stream import AsyncChunkStream
from .transport.msgpack import check_jpeg


class AsyncTurboPiClient:
    """
    It reconnects by itself, with growing pauses; only a refusal (a wrong key, a server without `WS /stream`, another model
    than the expected one) is final. Every call ends: see docs/guides/clients.md.
    """

    def __init__(
        self,
        url: str,
        *,
        robot: str | None = None,
        expected_model: str | None = None,
        api_key: str | None = None,
        jpeg_quality: int | None = None,
        grace_ms: float = 500,
        timeout_ms: float = 30_000,
        connect_timeout_ms: float = 10_000,
        ready_timeout_ms: float = 40_000,
        backoff_ms: tuple[float, float] = (250, 5000),
    ) -> None:
        """
        `jpeg_quality` (1 to 95) sends images as JPEG files: fewer bytes, other pixels. CoreOptions tells the rest. To be
        made on a running event loop; `connect` makes one and waits for the server.
        """
        check_jpeg(jpeg_quality)
        options = CoreOptions(
            random=jitter,
            hears_pings=False,
            robot=robot,
            expected_model=expected_model,
            grace_ms=grace_ms,
            timeout_ms=timeout_ms,
            connect_timeout_ms=connect_timeout_ms,
            ready_timeout_ms=ready_timeout_ms,
            backoff_ms=backoff_ms,
        )
        self._listeners: dict[str, list[Listener]] = {"ready": [], "lost": [], "reconnecting": []}
        self._probes: list[asyncio.Future[TimeSample]] = []
        self._stream: AsyncChunkStream | None = None
        self._driver = Driver(url, options, _Events(self), api_key, jpeg_quality)

    @classmethod
    async def connect(cls, url: str, *, wait_ms: float = 60_000, **options: Any) -> AsyncTurboPiClient:
        """
        Waits until the server is ready, also for one that is not up yet. Raises LinkError when refused, ModelMismatchError,
        or DeadlineError after `wait_ms`. `options` are those of the constructor.
        """
        client = cls(url, **options)
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_lost(lost: Lost) -> None:
            if lost.final:
                _settle(ready, lost.error)

        stops = [client.on("ready", lambda _: _settle(ready, None)), client.on("lost", on_lost)]
        client.start()
        try:
            await asyncio.wait_for(ready, wait_ms / 1000)
        except asyncio.TimeoutError:
            await client.close()
            raise DeadlineError(f"The server was not ready within {wait_ms:g} ms.") from None
        except BaseException:
            await client.close()
            raise
        finally:
            for stop in stops:
                stop()
        return client

    def start(self) -> None:
        """Connects in the background: calls wait for the server, events tell of it."""
        self._driver.tell(lambda core, now: core.start(now))

    @property
    def metadata(self) -> Ready:
        """Of the server connected last. Raises LinkError before the first."""
        server = self._driver.core.server
        if server is None:
            raise LinkError("CONNECTION_LOST", "No server has been ready yet.")
        return ready_of(server)

    @property
    def session(self) -> str | None:
        """The server's name for the connection; None before the first."""
        server = self._driver.core.server
        return None if server is None else server["session"]

    @property
    def ready(self) -> bool:
        """Whether observations can be sent at this moment."""
        return self._driver.core.ready

    @property
    def generation(self) -> int:
        """Counts the resets."""
        return self._driver.core.generation

    @property
    def server_clock(self) -> TimeSample | None:
        """What is to be added to `now_ms()` to have the server's Unix time, and how sure that is; None when unknown."""
        return self._driver.core.clock.best

    def on(self, event: EventName, listener: Listener) -> Callable[[], None]:
        """Listens to Ready, Lost or Reconnecting; returns how to stop. Listeners must not raise."""
        self._listeners[event].append(listener)
        return lambda: self._listeners[event].remove(listener)

    async def infer(self, observation: Observation, options: ObserveOptions | None = None) -> ActionChunk:
        """
        One observation, one chunk; calls wait for each other. Fields left out keep their last value. Raises a ClientError;
        a task that is cancelled ends its call.
        """
        return await self.infer_observed(observed(observation, options))

    async def infer_observed(self, given: Observed) -> ActionChunk:
        if self._stream:
            raise RuntimeError("Close the stream before calling infer on the same client.")
        answer: asyncio.Future[ActionChunk] = asyncio.get_running_loop().create_future()
        call = self._driver.tell(lambda core, now: core.call(given, False, lambda out: _settle(answer, out), now))
        try:
            return await answer
        except asyncio.CancelledError:
            self._driver.tell(lambda core, now: core.cancel(call, SkippedError("cancelled"), now))
            raise

    def submit(self, observation: Observation, options: ObserveOptions | None = None) -> asyncio.Task[ActionChunk]:
        """`infer` that is not waited for: the ChunkExecutor's way of asking."""
        task = asyncio.ensure_future(self.infer_observed(observed(observation, options)))
        # A caller that has lost interest is not told of the failure when the task is collected.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    def stream(self) -> AsyncChunkStream:
        """One stream at a time."""
        if self._stream:
            raise RuntimeError("This client has a stream already; close it first.")

        def call(given: Observed, settle: Settle) -> None:
            self._driver.tell(lambda core, now: core.call(given, True, settle, now))

        def end() -> None:
            self._stream = None

        self._stream = AsyncChunkStream(call, end)
        return self._stream

    def reset(self) -> None:
        """Starts the next generation, for example with an episode: what waits is skipped, no field is carried over."""
        self._driver.tell(lambda core, now: core.reset(now))

    def executed(self, action: npt.ArrayLike, chunk: ActionChunk | None = None, row: int | None = None) -> bool:
        """
        Tells the server's recording that an action was commanded just now: call it in every tick. `chunk` and `row` say which
        row of which chunk it is from, where it is from one. False when the server records nothing, or is not connected.
        """
        numbers = np.asarray(action, dtype=np.float64).tolist()
        seq = None if chunk is None else chunk.seq
        return self._driver.tell(lambda core, now: core.executed(numbers, seq, row, now))

    def mark(self, kind: MarkKind, text: str | None = None) -> bool:
        """Marks this moment in the server's recording: how an episode ended, where somebody took over. False as for `executed`."""
        return self._driver.tell(lambda core, now: core.mark(kind, text, now))

    def clear_hold(self) -> bool:
        """
        Lets this robot go on that a guard of the server has stopped (RemoteError, ROBOT_HELD), once somebody has looked at
        it. False when there is no connection, or a server that holds no robots.
        """
        return self._driver.tell(lambda core, _: core.clear_hold())

    async def measure_link(self, timeout_ms: float = 1000) -> TimeSample:
        """One exchange of time stamps. Raises LinkError without a connection to a server that tells its time."""
        probe: asyncio.Future[TimeSample] = asyncio.get_running_loop().create_future()
        if not self._driver.tell(lambda core, now: core.measure(now)):
            raise LinkError("CONNECTION_LOST", "There is no connection to a server that tells its time.")
        self._probes.append(probe)
        try:
            return await asyncio.wait_for(probe, timeout_ms / 1000)
        except asyncio.TimeoutError:
            raise DeadlineError(f"No time came within {timeout_ms:g} ms.") from None

    async def close(self) -> None:
        if self._stream:
            self._stream.close()
        self._fail_probes(LinkError("CONNECTION_CLOSED", "This client is closed."))
        self._driver.tell(lambda core, now: core.close(now))
        await self._driver.closed()

    async def __aenter__(self) -> AsyncTurboPiClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def heard(self, name: EventName, event: Event) -> None:
        if isinstance(event, Lost):
            self._fail_probes(event.error)
            if event.final and self._stream:
                self._stream.fail(event.error)
        for listener in list(self._listeners[name]):
            listener(event)

    def timed(self, sample: TimeSample) -> None:
        if self._probes:
            _settle(self._probes.pop(0), sample)

    def _fail_probes(self, error: ClientError) -> None:
        probes, self._probes = self._probes, []
        for probe in probes:
            _settle(probe, error)


class _Events:
    def __init__(self, client: AsyncTurboPiClient) -> None:
        self._client = client

    def ready(self, message: Message) -> None:
        self._client.heard("ready", ready_of(message))

    def lost(self, error: ClientError, final: bool) -> None:
        self._client.heard("lost", Lost(error, final))

    def reconnecting(self, in_ms: float) -> None:
        self._client.heard("reconnecting", Reconnecting(in_ms))

    def timed(self, sample: TimeSample) -> None:
        self._client.timed(sample)


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
