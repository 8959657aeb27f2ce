"""What the robot did and the server was not told yet."""

from __future__ import annotations

from typing import Any

from .messages import Message

_GATHERED = 16
"""Actions that are gathered for one message."""


class Reports:
    """Actions travel several at a time, and with the next observation."""

    def __init__(self) -> None:
        self._executed: list[dict[str, Any]] = []
        self._marks: list[dict[str, Any]] = []

    def executed(self, action: list[float], seq: int | None, row: int | None, at: float) -> bool:
        """True when it is time to send them."""
        of = {name: value for name, value in (("seq", seq), ("row", row)) if value is not None}
        self._executed.append({"action": action, "at": at, **of})
        return len(self._executed) >= _GATHERED

    def mark(self, kind: str, text: str | None, at: float) -> None:
        self._marks.append({"kind": kind, "at": at, **({} if text is None else {"text": text})})

    def take(self, now: float) -> Message | None:
        """Everything, once; None when there is nothing."""
        if not self._executed and not self._marks:
            return None
        message: Message = {"type": "report", "sent_at": now}
        if self._executed:
            message["executed"] = self._executed
        if self._marks:
            message["marks"] = self._marks
        self.forget()
        return message

    def forget(self) -> None:
        """A connection is lost: what comes later is another one's."""
        self._executed = []
        self._marks = []
