"""WebSocket connections of asyncio, by `websockets`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

PROTOCOL = "turbo-pi.v1+msgpack"

CLOSE_TIMEOUT_S = 1.0
"""How long a server has to answer a goodbye before the connection is cut."""


class ConnectionEvents(Protocol):
    """What becomes of a connection. `closed` is the last word."""

    def opened(self) -> None: ...

    def frame(self, frame: str | bytes) -> None: ...

    def closed(self, detail: str, refused: bool) -> None:
        """`refused`: the server does not want this client, now or later."""


def headers_of(api_key: str | None) -> dict[str, str] | None:
    return None if api_key is None else {"Authorization": f"Api-Key {api_key}"}


@dataclass
class Goodbye:
    code: int
    reason: str


class Connection:
    """Opens at once, in the background. The pings of the server are answered, and not heard of."""

    def __init__(self, url: str, api_key: str | None, events: ConnectionEvents) -> None:
        self._events = events
        self._frames: asyncio.Queue[bytes | Goodbye] = asyncio.Queue()
        self._is_open = False
        self.buffered = 0
        """Bytes that were sent and have not left yet."""
        self._task = asyncio.ensure_future(self._run(url, api_key))

    def send(self, frame: bytes) -> None:
        self.buffered += len(frame)
        self._frames.put_nowait(frame)

    def close(self, code: int, reason: str) -> asyncio.Task[None]:
        """Says goodbye where it is a normal one, and waits for no answer; the task ends when the connection has."""
        if code == 1000 and self._is_open:
            self._frames.put_nowait(Goodbye(code, reason))
            asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._task.cancel)
        else:
            self._task.cancel()
        return self._task

    async def _run(self, url: str, api_key: str | None) -> None:
        try:
            detail, refused = await self._live(url, api_key)
        except InvalidStatus as error:
            status = error.response.status_code
            # A server that is starting or full may have room later; any other refusal stays one.
            refused = status < 500
            detail = f"The server {'refuses the connection' if refused else 'answers'} with status {status}."
        except Exception as error:
            detail, refused = f"{type(error).__name__}: {error}", False
        self._events.closed(detail, refused)

    async def _live(self, url: str, api_key: str | None) -> tuple[str, bool]:
        socket = await connect(
            url,
            subprotocols=[Subprotocol(PROTOCOL)],
            additional_headers=headers_of(api_key),
            compression=None,
            max_size=None,
            open_timeout=None,
            close_timeout=CLOSE_TIMEOUT_S,
            proxy=None,
        )
        sending = asyncio.ensure_future(self._send(socket))
        self._is_open = True
        try:
            self._events.opened()
            while True:
                self._events.frame(await socket.recv())
        except ConnectionClosed:
            return f"The connection was closed with {socket.close_code} {socket.close_reason or ''}".strip(), False
        finally:
            self._is_open = False
            sending.cancel()
            socket.transport.abort()

    async def _send(self, socket: ClientConnection) -> None:
        try:
            while True:
                frame = await self._frames.get()
                if isinstance(frame, Goodbye):
                    await socket.close(frame.code, frame.reason)
                    return
                await socket.send(frame)
                self.buffered -= len(frame)
        except ConnectionClosed:
            pass
