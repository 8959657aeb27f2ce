"""What a client is answered with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class ActionChunk:
    """Actions that the robot is to take one after the other."""

    actions: npt.NDArray[np.floating[Any]]
    """[action_horizon, action_size], in the robot's action space."""
    seq: int
    """The number of the observation that it answers."""
    chunk_id: int
    """Counts the chunks of its session; names this one as the previous chunk of another."""
    session: str
    """The connection that it came over."""
    generation: int
    """Of the execution: each reset starts the next one."""
    captured_at: float
    """When its observation was captured, on the clock of `now_ms`."""
    observation_age_ms: float
    """From the capture of the observation to the moment when the server sent this."""
    round_trip_ms: float
    """From sending the observation to this answer."""
    valid_until: float | None
    """When it stops being of use, on the clock of `captured_at`; None without a deadline."""
    late: bool
    """The deadline had passed: not to be played as if it were fresh."""
    seed: int | None
    """Repeats this answer bit for bit; None when noise was given."""
    coalesced: bool
    truncated: bool
    """The prompt was longer than the policy takes and lost its tail."""
    guard: Mapping[str, Any] | None
    """What the guard saw, as the server tells it."""
    rtc: Mapping[str, Any] | None
    """How the previous chunk was continued, as the server tells it."""
    model: str | None
    """Digest of the policy that acts."""
    server_timing: Mapping[str, float]
    """Milliseconds of each stage on the server."""
