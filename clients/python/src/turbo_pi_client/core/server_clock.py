"""The server's clock as seen from here."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_KEPT = 8
"""Exchanges that count: older ones tell of a clock that may have drifted since."""
_SETTLED = 4
"""Exchanges that a new connection makes at once."""


@dataclass(frozen=True)
class TimeSample:
    """One exchange of `time` messages."""

    offset_ms: float
    """What is to be added to this side's clock to have the server's."""
    round_trip_ms: float
    """On the way, there and back; the server's own time is not counted."""


def time_sample(sent: float, received: float, answered: float, heard: float) -> TimeSample:
    """The four stamps of NTP (RFC 5905 §8): sent and heard on this side's clock, the others on the server's."""
    return TimeSample((received - sent + (answered - heard)) / 2, max(0.0, heard - sent - (answered - received)))


class ServerClock:
    """Of the last exchanges the quickest is right within half its round trip."""

    def __init__(self) -> None:
        self._samples: deque[TimeSample] = deque(maxlen=_KEPT)

    def add(self, sample: TimeSample) -> None:
        self._samples.append(sample)

    @property
    def settled(self) -> bool:
        """Whether there are enough samples to wait for the next heartbeat."""
        return len(self._samples) >= _SETTLED

    @property
    def best(self) -> TimeSample | None:
        """None before the first exchange."""
        return min(self._samples, key=lambda sample: sample.round_trip_ms, default=None)

    @property
    def earliest_offset_ms(self) -> float | None:
        """
        The least offset that the best sample allows: with it no observation looks fresher than it is. It is too low by
        the way back of that sample, which an answer has to take as well.
        """
        best = self.best
        return None if best is None else best.offset_ms - best.round_trip_ms / 2

    def forget(self) -> None:
        """For a new connection: another server may answer."""
        self._samples.clear()
