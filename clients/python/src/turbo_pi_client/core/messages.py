"""Messages of the server, read with care."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

Message: TypeAlias = dict[str, Any]


def read_message(decoded: object) -> Message | None:
    """
    A decoded frame as a message; None for a type that this client does not know, which a newer server may send. Raises
    ValueError for what is no message, or lacks what its type needs.
    """
    if not isinstance(decoded, dict) or not isinstance(decoded.get("type"), str):
        raise ValueError('a message must be an object with a "type"')
    fits = _KINDS.get(decoded["type"])
    if fits is None:
        return None
    if not fits(decoded):
        raise ValueError(f"a message of type {decoded['type']} lacks its fields")
    if decoded["type"] == "actions":
        return {**decoded, "actions": np.asarray(decoded["actions"])}
    return decoded


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_rows(value: object) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 2 and value.dtype.kind in "fiu"
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        return False
    return len({len(row) for row in value}) <= 1 and all(_is_number(entry) for row in value for entry in row)


_KINDS: Mapping[str, Callable[[Message], bool]] = {
    "ready": lambda m: isinstance(m.get("session"), str)
    and isinstance(m.get("metadata"), dict)
    and _is_count(m["metadata"].get("heartbeat_ms")),
    "welcome": lambda m: _is_count(m.get("generation"))
    and _is_number(m.get("received_at"))
    and _is_number(m.get("server_time")),
    "time": lambda m: all(_is_number(m.get(key)) for key in ("sent_at", "received_at", "server_time")),
    "heartbeat": lambda _: True,
    "actions": lambda m: _is_count(m.get("seq")) and _is_number(m.get("obs_age_ms")) and _are_rows(m.get("actions")),
    "skipped": lambda m: _is_count(m.get("seq")) and isinstance(m.get("reason"), str),
    "error": lambda m: (m.get("seq") is None or _is_count(m["seq"]))
    and isinstance(m.get("error"), dict)
    and isinstance(m["error"].get("code"), str),
}
