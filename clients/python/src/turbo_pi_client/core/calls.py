"""The calls of a client: those that wait to be sent, and those that wait for the server."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..chunk import ActionChunk
from ..errors import DeadlineError, SkippedError
from ..observation import Observed

Settle = Callable[[ActionChunk | Exception], None]

MAX_UNANSWERED = 3
"""
Observations that may be unanswered: one in the engine, one waiting for it, one on the wire. The one on the wire makes the
server skip the waiting one, so a healthy connection always has room; one that lags does not fill up with frames that
will be stale when they arrive.
"""


@dataclass(frozen=True, eq=False)
class Call:
    """An observation that waits for its answer."""

    observed: Observed
    expires_at: float
    """On the clock of `captured_at`: when it ends without an answer."""
    settle: Settle
    """Called once."""
    replaceable: bool
    """Latest wins: it may be replaced before it is sent. Other calls take their turn, one at a time."""


@dataclass(frozen=True, eq=False)
class Sent:
    """A call on its way."""

    call: Call
    seq: int
    sent_at: float


class Calls:
    """Each call is settled exactly once."""

    def __init__(self) -> None:
        self._turns: list[Call] = []
        self._held: Call | None = None
        self._sent: dict[int, Sent] = {}
        self._seq = 0

    def add(self, call: Call) -> None:
        """It takes its turn; or, replaceable, the place of the one that is held."""
        if not call.replaceable:
            self._turns.append(call)
            return
        replaced, self._held = self._held, call
        if replaced:
            replaced.settle(SkippedError("superseded"))

    def next(self, now: float) -> Sent | None:
        """The next call that may be sent, with the number that it is sent under."""
        call = self._next_call()
        if call is None:
            return None
        if call.replaceable:
            self._held = None
        else:
            self._turns.pop(0)
        sent = Sent(call, self._seq, now)
        self._seq += 1
        self._sent[sent.seq] = sent
        return sent

    def _next_call(self) -> Call | None:
        in_turn = any(not sent.call.replaceable for sent in self._sent.values())
        if self._turns and not in_turn:
            return self._turns[0]
        return self._held if len(self._sent) < MAX_UNANSWERED else None

    def take(self, seq: int | None) -> Sent | None:
        """Takes out the call that an answer belongs to; an answer without a number belongs to the oldest."""
        if seq is None:
            seq = next(iter(self._sent), -1)
        return self._sent.pop(seq, None)

    def cancel(self, call: Call, error: Exception) -> None:
        """Ends one call."""
        self._end(lambda other: other is call, error)

    def fail_sent(self, error: Exception) -> None:
        """Ends what the server owes an answer."""
        sent, self._sent = self._sent, {}
        for one in sent.values():
            one.call.settle(error)

    def fail_all(self, error: Exception) -> None:
        self._end(lambda _: True, error)

    def expire(self, now: float) -> None:
        """Ends what has waited too long."""
        self._end(lambda call: call.expires_at <= now, DeadlineError("No answer came before the deadline."))

    @property
    def expires_at(self) -> float:
        """When the next call expires; infinity for never."""
        return min((call.expires_at for call in self._all()), default=math.inf)

    def _all(self) -> list[Call]:
        held = [self._held] if self._held else []
        return [sent.call for sent in self._sent.values()] + self._turns + held

    def _end(self, leaves: Callable[[Call], bool], error: Exception) -> None:
        gone = [call for call in self._all() if leaves(call)]
        self._turns = [call for call in self._turns if not leaves(call)]
        if self._held and leaves(self._held):
            self._held = None
        self._sent = {seq: sent for seq, sent in self._sent.items() if not leaves(sent.call)}
        for call in gone:
            call.settle(error)
