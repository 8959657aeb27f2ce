"""What an executor tells."""

from __future__ import annotations

from dataclasses import dataclass

from ..chunk import ActionChunk


@dataclass(frozen=True)
class Starved:
    """A tick has no action, and the grace is over; told once until a chunk comes."""

    tick: int


@dataclass(frozen=True)
class Merged:
    """A chunk is executed from here on; `delay_ticks` rows of it have passed."""

    tick: int
    delay_ticks: int
    chunk: ActionChunk


@dataclass(frozen=True)
class Stale:
    """A chunk came when all its rows had passed; or, of mode trained, when more had than it was given of the chunk before."""

    tick: int
    chunk: ActionChunk


@dataclass(frozen=True)
class Failed:
    """A call has failed; the next tick asks again."""

    error: BaseException
