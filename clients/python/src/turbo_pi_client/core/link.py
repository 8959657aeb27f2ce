"""The life of a connection that comes back by itself: opened, greeted, listened to, lost, opened again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from ..errors import ClientError, LinkError, ModelMismatchError, RemoteError
from .messages import Message

State = Literal["idle", "connecting", "opened", "greeting", "ready", "pausing", "ended"]


@dataclass(frozen=True)
class LinkOptions:
    random: Callable[[], float]
    """0 to 1."""
    hears_pings: bool
    """Whether the transport hears the server's pings."""
    robot: str | None = None
    """Name of the robot, for the server's fairness, metrics and log."""
    expected_model: str | None = None
    """Fingerprint; another model is refused."""
    connect_timeout_ms: float = 10_000
    """How long opening a connection may take."""
    ready_timeout_ms: float = 40_000
    """How long an open connection may take to its `ready`."""
    backoff_ms: tuple[float, float] = (250, 5000)
    """First and longest pause before a new attempt; each pause is twice the last, ± 20 %."""


class LinkEffects(Protocol):
    """What the link wants done. None of it may call back before it has returned."""

    def connect(self) -> None: ...

    def drop(self, code: int, reason: str) -> None:
        """Forgets the connection: nothing that still comes over it counts."""

    def send(self, message: Message) -> None: ...

    def ready(self, message: Message) -> None: ...

    def lost(self, error: ClientError, final: bool) -> None:
        """What is unanswered will not be answered. A new attempt follows, unless `final` is set."""

    def reconnecting(self, in_ms: float) -> None: ...


class Link:
    def __init__(self, options: LinkOptions, effects: LinkEffects) -> None:
        self._options = options
        self._effects = effects
        self._since = 0.0
        """When the state began; of `ready`: when the server was last heard."""
        self._limit_ms = math.inf
        """When the state ends by itself."""
        self._pause_ms = options.backoff_ms[0]
        self._silence_ms = math.inf
        self.state: State = "idle"
        self.server: Message | None = None
        """`ready` of the server connected last."""

    def start(self, now: float) -> None:
        self._enter("connecting", self._options.connect_timeout_ms, now)
        self._effects.connect()

    def opened(self, now: float) -> None:
        if self.state == "connecting":
            self._enter("opened", self._options.ready_timeout_ms, now)

    def heard(self, now: float) -> None:
        """
        Anything at all has come from the server. Until the link is ready that is not enough: heartbeats of a server whose
        `welcome` has been lost would keep it waiting for good.
        """
        if self.state == "ready":
            self._since = now

    def ready(self, message: Message, generation: int, now: float) -> None:
        """The server is ready; or, on a connection that is ready, has exchanged its policy."""
        options = self._options
        metadata = message["metadata"]
        model = metadata.get("model")
        self.server = message
        if options.expected_model is not None and options.expected_model != model:
            return self.lose(ModelMismatchError(options.expected_model, model), now, True)
        if self.state == "ready":
            return self._effects.ready(message)
        if self.state != "opened":
            return None
        greets = has(message, "hello")
        hears = options.hears_pings or (greets and has(message, "heartbeat"))
        self._silence_ms = 2 * metadata["heartbeat_ms"] if hears else math.inf
        if not greets:
            return self._establish(message, now)
        self._enter("greeting", self._silence_ms, now)
        hello: Message = {"type": "hello", "generation": generation, "sent_at": now}
        if options.robot is not None:
            hello["robot"] = options.robot
        if options.expected_model is not None:
            hello["expected_model"] = options.expected_model
        return self._effects.send(hello)

    def welcome(self, now: float) -> None:
        if self.state == "greeting" and self.server is not None:
            self._establish(self.server, now)

    def _establish(self, server: Message, now: float) -> None:
        self._pause_ms = self._options.backoff_ms[0]
        self._enter("ready", self._silence_ms, now)
        self._effects.ready(server)

    def refused(self, problem: Message, now: float) -> bool:
        """The server refuses the greeting; False when it was not asked for one."""
        if self.state != "greeting":
            return False
        status = problem.get("status")
        self.lose(RemoteError(problem), now, isinstance(status, int) and status < 500)
        return True

    def lose(self, error: ClientError, now: float, final: bool = False) -> None:
        """The connection is gone, or is of no use any more."""
        if self.state in ("ended", "pausing"):
            return
        self._effects.drop(1000 if final else 1002, error.code)
        if final:
            self._enter("ended", math.inf, now)
            self._effects.lost(error, True)
            return
        pause_ms = self._pause_ms * (0.8 + 0.4 * self._options.random())
        self._pause_ms = min(self._options.backoff_ms[1], self._pause_ms * 2)
        self._enter("pausing", pause_ms, now)
        self._effects.lost(error, False)
        self._effects.reconnecting(pause_ms)

    def close(self, now: float) -> None:
        if self.state == "ended":
            return
        self._enter("ended", math.inf, now)
        self._effects.drop(1000, "")

    @property
    def wake_at(self) -> float:
        """When `tick` has something to do."""
        return self._since + self._limit_ms

    def tick(self, now: float) -> None:
        if now < self.wake_at:
            return
        if self.state == "pausing":
            self.start(now)
        elif self.state == "connecting":
            self.lose(_lost(f"No connection within {self._limit_ms:g} ms."), now)
        elif self.state == "ready":
            self.lose(_lost(f"Nothing was heard from the server for {self._limit_ms:g} ms."), now)
        else:
            self.lose(_lost(f"The connection was open, but not ready within {self._limit_ms:g} ms."), now)

    def _enter(self, state: State, limit_ms: float, now: float) -> None:
        self.state = state
        self._since = now
        self._limit_ms = limit_ms


def has(server: Message | None, feature: str) -> bool:
    """Whether a server's `ready` lists a feature."""
    return server is not None and feature in (server.get("features") or ())


def _lost(detail: str) -> LinkError:
    return LinkError("CONNECTION_LOST", detail)
