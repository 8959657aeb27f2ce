"""A robot's side of a Turbo-Pi policy server."""

from .aio import AsyncTurboPiClient
from .chunk import ActionChunk
from .client import ChunkStream, TurboPiClient
from .core.server_clock import TimeSample
from .errors import ClientError, DeadlineError, LinkError, ModelMismatchError, RemoteError, SkippedError
from .events import Lost, Ready, Reconnecting
from .executor.events import Failed, Merged, Stale, Starved
from .executor.executor import STRATEGIES, ChunkExecutor, ChunkSource, RtcOptions, Strategy, Tick
from .executor.run import ActionReporter, run_executor, run_executor_async
from .observation import MarkKind, Observation, ObserveOptions, RtcRequest, now_ms
from .stream import AsyncChunkStream

__all__ = [
    "ActionChunk",
    "ActionReporter",
    "AsyncChunkStream",
    "AsyncTurboPiClient",
    "ChunkExecutor",
    "ChunkSource",
    "ChunkStream",
    "ClientError",
    "DeadlineError",
    "Failed",
    "LinkError",
    "Lost",
    "Merged",
    "ModelMismatchError",
    "MarkKind",
    "Observation",
    "ObserveOptions",
    "Ready",
    "Reconnecting",
    "RemoteError",
    "RtcOptions",
    "RtcRequest",
    "STRATEGIES",
    "SkippedError",
    "Stale",
    "Starved",
    "Strategy",
    "Tick",
    "TimeSample",
    "TurboPiClient",
    "now_ms",
    "run_executor",
    "run_executor_async",
]
