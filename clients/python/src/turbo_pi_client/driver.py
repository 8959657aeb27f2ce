"""Gives a ClientCore its socket, its timer and its clock: those of asyncio."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from typing import Protocol, TypeVar

from .core.core import ClientCore, CoreOptions
from .core.messages import Message, read_message
from .core.server_clock import TimeSample
from .errors import ClientError
from .observation import now_ms
from .transport.address import stream_address
from .transport.msgpack import pack, unpack
from .transport.websocket import Connection

T = TypeVar("T")

_MAX_BUFFERED = 8 * 2**20
"""Bytes on their way beyond which no further observation is sent: a link that stands still must not fill the memory."""
_MAX_TIMER_S = 3600.0


class DriverEvents(Protocol):
    """What the core's effects leave to the client."""

    def ready(self, message: Message) -> None: ...

    def lost(self, error: ClientError, final: bool) -> None: ...

    def reconnecting(self, in_ms: float) -> None: ...

    def timed(self, sample: TimeSample) -> None: ...


class Driver:
    """To be used on the event loop that it is made on."""

    def __init__(
        self,
        url: str,
        options: CoreOptions,
        events: DriverEvents,
        api_key: str | None = None,
        jpeg_quality: int | None = None,
    ) -> None:
        self._address = stream_address(url)
        self._api_key = api_key
        self._jpeg_quality = jpeg_quality
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.ready = events.ready
        self.lost = events.lost
        self.reconnecting = events.reconnecting
        self.timed = events.timed
        self.core = ClientCore(options, self)

    def tell(self, something: Callable[[ClientCore, float], T]) -> T:
        """Tells the core something, then sees to its timer."""
        try:
            return something(self.core, now_ms())
        finally:
            self._arm()

    async def closed(self) -> None:
        """Waits until the connections that were closed have ended."""
        await asyncio.gather(*self._closing, return_exceptions=True)

    # The effects of the core.

    def connect(self) -> None:
        events = _Events(self)
        events.connection = self._connection = Connection(self._address, self._api_key, events)

    def drop(self, code: int, reason: str) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        task = connection.close(code, reason)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def send(self, message: Message) -> None:
        if self._connection is None:
            return
        try:
            frame = pack(message, self._jpeg_quality)
        except Exception as error:
            refusal = {
                "type": "error",
                "seq": message.get("seq"),
                "generation": self.core.generation,
                "error": {"code": "OBSERVATION_INVALID", "title": "Cannot be sent", "detail": str(error)},
            }
            self._loop.call_soon(self.tell, lambda core, now: core.message(refusal, now))
            return
        self._connection.send(frame)

    def has_room(self) -> bool:
        return self._connection is None or self._connection.buffered < _MAX_BUFFERED

    def is_current(self, connection: Connection | None) -> bool:
        return connection is not None and connection is self._connection

    def _arm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        wake_at = self.core.wake_at
        if wake_at == math.inf:
            return
        delay_s = min(_MAX_TIMER_S, max(0.0, (wake_at - now_ms()) / 1000))
        self._timer = self._loop.call_later(delay_s, self.tell, lambda core, now: core.tick(now))


class _Events:
    """What is heard of one connection, for as long as it is the driver's."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.connection: Connection | None = None

    def opened(self) -> None:
        self._tell(lambda core, now: core.opened(now))

    def closed(self, detail: str, refused: bool) -> None:
        self._tell(lambda core, now: core.disconnected(detail, refused, now))

    def frame(self, frame: str | bytes) -> None:
        def read(core: ClientCore, now: float) -> None:
            try:
                if isinstance(frame, str):
                    raise ValueError("a text frame where binary ones are spoken")
                message = read_message(unpack(frame))
            except Exception as error:
                return core.unreadable(str(error), now)
            return core.message(message, now) if message else core.heard(now)

        self._tell(read)

    def _tell(self, something: Callable[[ClientCore, float], None]) -> None:
        if self._driver.is_current(self.connection):
            self._driver.tell(something)


def jitter() -> float:
    return random.random()
