"""What is told of a connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .core.messages import Message
from .errors import ClientError


@dataclass(frozen=True)
class Ready:
    """Connected, or connected anew, or the server has exchanged its policy: observations are to be whole again."""

    policy: str
    model: str
    """Digest of the policy that acts."""
    action_horizon: int
    action_size: int
    session: str
    """Names the connection, `instance` this run of the server; '' of servers that do not tell."""
    instance: str


@dataclass(frozen=True)
class Lost:
    """What was unanswered has failed with this error; no new attempt follows when it is `final`."""

    error: ClientError
    final: bool


@dataclass(frozen=True)
class Reconnecting:
    """A new attempt begins in so many milliseconds."""

    in_ms: float


Event: TypeAlias = Ready | Lost | Reconnecting
Listener: TypeAlias = Callable[[Any], None]
EventName = Literal["ready", "lost", "reconnecting"]


def ready_of(server: Message) -> Ready:
    metadata = server["metadata"]
    return Ready(
        policy=metadata.get("policy", ""),
        model=metadata.get("model", ""),
        action_horizon=metadata.get("action_horizon", 0),
        action_size=metadata.get("action_size", 0),
        session=server["session"],
        instance=server.get("instance", ""),
    )
