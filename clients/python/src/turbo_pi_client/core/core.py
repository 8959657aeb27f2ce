"""The client's side of `WS /stream`, without a socket, a timer or a clock of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..chunk import ActionChunk
from ..errors import ClientError, DeadlineError, LinkError, ModelMismatchError, RemoteError, SkippedError
from ..observation import Observed
from .calls import Call, Calls, Sent, Settle
from .link import Link, LinkEffects, LinkOptions, State, has
from .messages import Message
from .reports import Reports
from .server_clock import ServerClock, TimeSample, time_sample


@dataclass(frozen=True)
class CoreOptions(LinkOptions):
    grace_ms: float = 500
    """After its deadline, how long a call waits for the server's word."""
    timeout_ms: float = 30_000
    """How long a call without a deadline may wait."""


class CoreEffects(LinkEffects, Protocol):
    def has_room(self) -> bool:
        """False while much of what was sent has not left yet."""

    def timed(self, sample: TimeSample) -> None:
        """The server has answered a `time` message."""


class ClientCore:
    """
    It is told what happens and when (`now`, in milliseconds of one clock), and says what is to be done. Every call that it
    takes is settled: by an answer, an error, its deadline, or the loss of the connection. test/client/scenarios.json of
    the repository says what it does; the TypeScript client has the same core.
    """

    def __init__(self, options: CoreOptions, effects: CoreEffects) -> None:
        self._options = options
        self._effects = effects
        self._link = Link(options, _Losing(effects, self._lost))
        self._calls = Calls()
        self._reports = Reports()
        self._ended: ClientError | None = None
        self.clock = ServerClock()
        self.generation = 0

    @property
    def server(self) -> Message | None:
        """`ready` of the server connected last."""
        return self._link.server

    @property
    def state(self) -> State:
        return self._link.state

    @property
    def ready(self) -> bool:
        """Whether observations can be sent."""
        return self._link.state == "ready"

    @property
    def wake_at(self) -> float:
        """When `tick` has something to do, on the clock of `now`; infinity for never."""
        return min(self._link.wake_at, self._calls.expires_at)

    def start(self, now: float) -> None:
        self._link.start(now)

    def opened(self, now: float) -> None:
        self._link.opened(now)

    def heard(self, now: float) -> None:
        self._link.heard(now)

    def disconnected(self, detail: str, refused: bool, now: float) -> None:
        """The connection has ended. `refused`: the server does not want it, now or later."""
        code = "CONNECTION_REFUSED" if refused else "CONNECTION_LOST"
        self._link.lose(LinkError(code, detail), now, refused)

    def unreadable(self, detail: str, now: float) -> None:
        """A frame that is no message has come."""
        self._link.lose(LinkError("FRAME_UNREADABLE", f"A frame cannot be read: {detail}."), now)

    def tick(self, now: float) -> None:
        self._calls.expire(now)
        self._link.tick(now)
        self._flush(now)

    def message(self, message: Message, now: float) -> None:
        self._link.heard(now)
        kind = message["type"]
        if kind == "ready":
            if self._link.state == "opened":
                self.clock.forget()
            self._link.ready(message, self.generation, now)
        elif kind == "welcome":
            self._timed(message, now)
            self._link.welcome(now)
            self.measure(now)
        elif kind == "time":
            self._timed(message, now)
            if not self.clock.settled:
                self.measure(now)
        elif kind == "heartbeat":
            self.measure(now)
        elif kind == "error":
            if message.get("seq") is not None or not self._link.refused(message["error"], now):
                self._answer(message, lambda _: RemoteError(message["error"]))
        elif kind == "skipped":
            self._answer(message, lambda _: _skipped(message["reason"]))
        else:
            self._answer(message, lambda sent: self._chunk(message, sent, now))
        self._flush(now)

    def measure(self, now: float) -> bool:
        """Asks for the server's time; False when it cannot be asked."""
        if not self.ready or not has(self.server, "time"):
            return False
        self._effects.send({"type": "time", "sent_at": now})
        return True

    def call(self, observed: Observed, replaceable: bool, settle: Settle, now: float) -> Call:
        """A call that takes its turn after those before it; or, `replaceable`, one that the next may replace unsent."""
        deadline_ms = observed.options.deadline_ms
        if deadline_ms is not None and math.isfinite(deadline_ms):
            expires_at = observed.captured_at + deadline_ms + self._options.grace_ms
        else:
            expires_at = now + self._options.timeout_ms
        call = Call(observed, expires_at, settle, replaceable)
        if self._ended:
            settle(self._ended)
        else:
            self._calls.add(call)
        self._calls.expire(now)
        self._flush(now)
        return call

    def cancel(self, call: Call, error: Exception, now: float) -> None:
        """Ends a call with an error; one that has ended stays as it is."""
        self._calls.cancel(call, error)
        self._flush(now)

    def reset(self, now: float) -> None:
        """The next generation: what waits is skipped, the server forgets what it carries over."""
        self._report(now)
        self.generation += 1
        self._calls.fail_all(SkippedError("reset"))
        if self.ready:
            self._effects.send({"type": "reset"})

    def clear_hold(self) -> bool:
        """Lets a robot go on that a guard of the server has stopped; False when the server cannot be told."""
        if not self.ready or not has(self.server, "clear"):
            return False
        self._effects.send({"type": "clear"})
        return True

    def executed(self, action: list[float], seq: int | None, row: int | None, now: float) -> bool:
        """An action was commanded. False when nobody records it."""
        if not self._recorded:
            return False
        if self._reports.executed(action, seq, row, now):
            self._report(now)
        return True

    def mark(self, kind: str, text: str | None, now: float) -> bool:
        """False when nobody records it."""
        if not self._recorded:
            return False
        self._reports.mark(kind, text, now)
        self._report(now)
        return True

    @property
    def _recorded(self) -> bool:
        return self.ready and has(self.server, "report")

    def _report(self, now: float) -> None:
        report = self._reports.take(now)
        if report and self._recorded:
            self._effects.send(report)

    def close(self, now: float) -> None:
        self._report(now)
        self._end(LinkError("CONNECTION_CLOSED", "This client is closed."))
        self._link.close(now)

    def _end(self, error: ClientError) -> None:
        self._ended = self._ended or error
        self._calls.fail_all(error)

    def _lost(self, error: ClientError, final: bool) -> None:
        if final:
            self._end(error)
        else:
            self._calls.fail_sent(error)
        self._reports.forget()

    def _answer(self, message: Message, outcome: Callable[[Sent], ActionChunk | Exception]) -> None:
        if message.get("generation", self.generation) != self.generation:
            return
        seq = message.get("seq")
        # Servers without `hello` answer null for a message that they refuse before they look for its number.
        if seq is None and has(self.server, "hello"):
            return
        sent = self._calls.take(seq)
        if sent:
            sent.call.settle(outcome(sent))

    def _chunk(self, message: Message, sent: Sent, now: float) -> ActionChunk | Exception:
        expected = self._options.expected_model
        if expected is not None and message.get("model") != expected:
            return ModelMismatchError(expected, message.get("model"))
        observed = sent.call.observed
        deadline_ms = observed.options.deadline_ms
        return ActionChunk(
            actions=message["actions"],
            seq=message["seq"],
            chunk_id=message.get("chunk_id", 0),
            session=self.server["session"] if self.server else "",
            generation=self.generation,
            captured_at=observed.captured_at,
            observation_age_ms=message["obs_age_ms"],
            round_trip_ms=now - sent.sent_at,
            valid_until=None if deadline_ms is None else observed.captured_at + deadline_ms,
            late=message.get("late", False),
            seed=message.get("seed"),
            coalesced=message.get("coalesced", False),
            truncated=message.get("truncated", False),
            guard=message.get("guard"),
            rtc=message.get("rtc"),
            model=message.get("model"),
            server_timing=message.get("server_timing") or {},
        )

    def _timed(self, message: Message, now: float) -> None:
        if message.get("sent_at") is None:
            return
        sample = time_sample(message["sent_at"], message["received_at"], message["server_time"], now)
        self.clock.add(sample)
        self._effects.timed(sample)

    def _flush(self, now: float) -> None:
        while self.ready and self._effects.has_room():
            sent = self._calls.next(now)
            if not sent:
                return
            self._report(now)
            self._effects.send(self._observation(sent))

    def _observation(self, sent: Sent) -> Message:
        """Once the server's clock is known the stamps are in its time, so that the way there counts as age."""
        observed = sent.call.observed
        given = observed.options
        offset = self.clock.earliest_offset_ms
        options: dict[str, Any] = {}
        if given.num_steps is not None:
            options["num_steps"] = given.num_steps
        if given.seed is not None:
            options["seed"] = given.seed
        if given.rtc is not None:
            options["rtc"] = {name: value for name, value in asdict(given.rtc).items() if value is not None}
        if given.noise is not None:
            options["noise"] = _rows(given.noise, self.server["metadata"]["action_horizon"] if self.server else 1)
        message: Message = {
            "type": "observation",
            "seq": sent.seq,
            "observation": observed.observation,
            "captured_at": observed.captured_at + (offset or 0.0),
            "options": options,
        }
        if offset is None:
            message["sent_at"] = sent.sent_at
        if given.deadline_ms is not None:
            message["deadline_ms"] = given.deadline_ms
        return message


class _Losing:
    """The effects of the link: a loss ends calls before it is told."""

    def __init__(self, effects: CoreEffects, lost: Callable[[ClientError, bool], None]) -> None:
        self.connect = effects.connect
        self.drop = effects.drop
        self.send = effects.send
        self.ready = effects.ready
        self.reconnecting = effects.reconnecting
        self._told = effects.lost
        self._lost = lost

    def lost(self, error: ClientError, final: bool) -> None:
        self._lost(error, final)
        self._told(error, final)


def _skipped(reason: str) -> ClientError:
    if reason == "expired":
        return DeadlineError("The server had no answer before the deadline.")
    return SkippedError(reason)


def _rows(noise: npt.ArrayLike, horizon: int) -> list[Any]:
    """What does not divide stays as it is, for the server to refuse."""
    flat = np.asarray(noise, dtype=np.float32)
    rows: list[Any] = (flat.reshape(horizon, -1) if horizon > 0 and flat.size % horizon == 0 else flat).tolist()
    return rows
