"""A drop-in for `openpi_client.websocket_client_policy`, over openpi's own protocol (`WS /`)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from .errors import DeadlineError, LinkError
from .loop_thread import LoopThread
from .transport.msgpack import pack, unpack
from .transport.websocket import headers_of

_PAUSE_S = 1.0
"""Between attempts to reach a server that is not up yet."""


class WebsocketClientPolicy:
    """
    Asks a policy of Turbo-Pi or of openpi. Unlike openpi's client it never waits for good, and connects again by itself
    after a failure.
    """

    def __init__(
        self,
        host: str = "0.0.0.0",
        port: int | None = None,
        api_key: str | None = None,
        *,
        wait_s: float = 300,
        timeout_s: float = 60,
    ) -> None:
        """
        `host` is a name or address, or a URL (`wss://…/policies/a`). Waits `wait_s` for a server that is not up or still
        loads, `timeout_s` for an answer; then DeadlineError is raised. Raises LinkError for a server that refuses.
        """
        self._uri = (host if host.startswith("ws") and "://" in host else f"ws://{host}") + (f":{port}" if port else "")
        self._headers = headers_of(api_key)
        self._timeout_s = timeout_s
        self._socket: ClientConnection | None = None
        self._turn = asyncio.Lock()
        self._metadata: dict[str, Any] = {}
        self._loop = LoopThread("turbo-pi-openpi")
        try:
            self._loop.run(self._within(self._wait_for_server(wait_s), wait_s, "The server was not ready"))
        except BaseException:
            self._loop.close()
            raise

    def get_server_metadata(self) -> dict[str, Any]:
        """What the server told of itself when it was connected last."""
        return self._metadata

    def infer(self, obs: dict[str, Any]) -> dict[str, Any]:
        """
        Raises RuntimeError with the server's text for what it refuses, LinkError when the connection is lost, and
        DeadlineError after `timeout_s`.
        """
        return self._loop.run(self._within(self._exchange(pack(obs)), self._timeout_s, "No answer came"))

    def reset(self) -> None:
        """openpi's protocol knows no episodes: each observation is whole."""

    def close(self) -> None:
        if self._socket:
            self._loop.call(self._drop)
        self._loop.close()

    def __enter__(self) -> WebsocketClientPolicy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _within(self, work: Any, limit_s: float, what: str) -> Any:
        try:
            return await asyncio.wait_for(work, limit_s)
        except asyncio.TimeoutError:
            self._drop()
            raise DeadlineError(f"{what} within {limit_s:g} s: {self._uri}.") from None
        except BaseException:
            self._drop()
            raise

    async def _wait_for_server(self, wait_s: float) -> None:
        until = time.monotonic() + wait_s
        while True:
            try:
                await self._connect()
                return
            except LinkError as error:
                if error.code == "CONNECTION_REFUSED" or time.monotonic() + _PAUSE_S > until:
                    raise
                await asyncio.sleep(_PAUSE_S)

    async def _connect(self) -> ClientConnection:
        try:
            socket = self._socket = await connect(
                self._uri, additional_headers=self._headers, compression=None, max_size=None, proxy=None
            )
            self._metadata = unpack(_bytes(await socket.recv()))
            return socket
        except InvalidHandshake as error:
            status = getattr(getattr(error, "response", None), "status_code", 500)
            code = "CONNECTION_REFUSED" if status < 500 else "CONNECTION_LOST"
            raise LinkError(code, f"{self._uri}: {error}") from error
        except (OSError, ConnectionClosed) as error:
            raise LinkError("CONNECTION_LOST", f"{self._uri}: {error}") from error

    async def _exchange(self, frame: bytes) -> dict[str, Any]:
        async with self._turn:
            socket = self._socket or await self._connect()
            try:
                await socket.send(frame)
                answer = await socket.recv()
            except ConnectionClosed as error:
                raise LinkError("CONNECTION_LOST", f"{self._uri}: {error}") from error
        answered: dict[str, Any] = unpack(_bytes(answer))
        return answered

    def _drop(self) -> None:
        socket, self._socket = self._socket, None
        if socket:
            socket.transport.abort()


def _bytes(answer: str | bytes) -> bytes:
    """Text is how a server of this protocol tells an error."""
    if isinstance(answer, str):
        raise RuntimeError(f"The policy server reports an error:\n{answer}")
    return answer
