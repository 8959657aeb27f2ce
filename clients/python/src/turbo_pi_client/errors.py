"""What a client raises. `code` is stable; docs/reference/errors.md lists those of the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class ClientError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RemoteError(ClientError):
    """A problem document of the server, as it came: its code may be one that this client has never heard of."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(problem["code"], str(problem.get("detail", problem["code"])))
        self.status: int | None = problem.get("status")
        self.title: str | None = problem.get("title")
        self.fields: Sequence[Mapping[str, str]] = problem.get("errors") or ()
        """The wrong places of the message: `pointer` (RFC 6901) and `detail`."""


class DeadlineError(ClientError):
    """The deadline of a call has passed: on the server, which says so, or here, when the server says nothing."""

    def __init__(self, message: str) -> None:
        super().__init__("DEADLINE_EXCEEDED", message)


class SkippedError(ClientError):
    """No answer comes: a newer observation took its place (SUPERSEDED), or a reset did (RESET)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason.upper(), f"The observation was skipped: {reason}.")


class ModelMismatchError(ClientError):
    """The model that is served is not the one that was demanded (MODEL_MISMATCH)."""

    def __init__(self, expected: str, served: str | None) -> None:
        super().__init__("MODEL_MISMATCH", f"The server serves the model {served}, expected {expected}.")


class LinkError(ClientError):
    """
    The connection was lost (CONNECTION_LOST), refused (CONNECTION_REFUSED), ended for a frame that cannot be read
    (FRAME_UNREADABLE), or closed by this side (CONNECTION_CLOSED).
    """
