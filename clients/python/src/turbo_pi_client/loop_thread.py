"""An event loop in a thread of its own, for callers without one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from .errors import LinkError

T = TypeVar("T")


class LoopThread:
    """What it is given ends: with its result, or cancelled by `close`."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Cancelling the future cancels the coroutine. Raises LinkError once the loop is closed."""
        with self._closing:
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        coroutine.close()
        raise LinkError("CONNECTION_CLOSED", "This client is closed.")

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Waits; an interrupt of the caller ends the coroutine."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("A listener is called on the client's thread, and cannot wait for the client.")
        future = self.submit(coroutine)
        try:
            return future.result()
        except CancelledError:
            raise LinkError("CONNECTION_CLOSED", "This client is closed.") from None
        except BaseException:
            future.cancel()
            raise

    def call(self, something: Callable[[], T]) -> T:
        """Runs it on the loop, and waits."""

        async def run() -> T:
            return something()

        return self.run(run())

    def close(self) -> None:
        with self._closing:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _live(self) -> None:
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks))
        self._loop.close()
