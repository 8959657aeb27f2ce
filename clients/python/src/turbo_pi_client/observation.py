"""What a client is asked with."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Observation: TypeAlias = Mapping[str, Any]
"""
What the policy takes: the keys of GET /metadata's observation. Images are arrays [height, width, 3] of uint8, or the bytes
of a JPEG, PNG or WebP file; states are arrays or lists of numbers.
"""

MarkKind: TypeAlias = Literal[
    "episode_start", "success", "failure", "intervention_start", "intervention_end", "note"
]
"""What can be marked in a recording; an episode that is marked a success or a failure ends there."""


def now_ms() -> float:
    """The clock of `captured_at`, in milliseconds."""
    return time.monotonic() * 1000


@dataclass(frozen=True)
class RtcRequest:
    """Real-time chunking: the chunk that is being executed, for the server to continue (docs/guides/stream.md)."""

    previous_chunk_id: int
    """`chunk_id` of a chunk of this connection."""
    consumed: int
    """Its rows that were executed when the observation was taken."""
    inference_delay: int
    """Rows that will be executed before the answer arrives."""
    mode: Literal["guided", "trained"] | None = None
    execution_horizon: int | None = None
    """First row that the previous chunk has no hold on."""
    schedule: Literal["zeros", "ones", "linear", "exp"] | None = None
    max_guidance_weight: float | None = None


@dataclass(frozen=True)
class ObserveOptions:
    """Options of one observation; what is None is left to the policy or the server."""

    num_steps: int | None = None
    """Denoise steps, 1 to 50."""
    seed: int | None = None
    """32 bits, unsigned; drawn at random when absent."""
    noise: npt.ArrayLike | None = None
    """Explicit noise [action_horizon, action_dim] instead of a seed; flat is fine."""
    deadline_ms: float | None = None
    """From the capture, after which an answer is of no use."""
    rtc: RtcRequest | None = None
    captured_at: float | None = None
    """When the sensors were read, on the clock of `now_ms`; now, when absent."""


@dataclass(frozen=True)
class Observed:
    """An observation with the time of its capture."""

    observation: Observation
    captured_at: float
    options: ObserveOptions = field(default_factory=ObserveOptions)


def observed(observation: Observation, options: ObserveOptions | None) -> Observed:
    """
    Holds an observation fast: its arrays are copied, for a camera may write its next frame over this one. Raises TypeError
    for what cannot travel.
    """
    options = options or ObserveOptions()
    if options.noise is not None:
        options = replace(options, noise=np.array(options.noise, dtype=np.float32))
    captured_at = now_ms() if options.captured_at is None else options.captured_at
    return Observed({key: _held(value, key) for key, value in observation.items()}, captured_at, options)


def _held(value: Any, path: str) -> Any:
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, Mapping):
        return {key: _held(entry, f"{path}.{key}") for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_held(entry, f"{path}[{index}]") for index, entry in enumerate(value)]
    array = np.array(value, order="C")
    if array.dtype.kind not in "biufSU":
        raise TypeError(
            f"{path} must be an array of numbers, an image file's bytes, text, a list or a mapping; "
            f"got {type(value).__name__}."
        )
    return array
