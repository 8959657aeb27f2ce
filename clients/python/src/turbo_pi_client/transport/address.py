"""Addresses of servers."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


def stream_address(url: str) -> str:
    """
    The address of `WS /stream` of a server: with or without scheme and path, by its HTTP name or its own. Raises ValueError
    for what is no such address.
    """
    parts = urlsplit(url if re.match(r"[a-z]+://", url, re.IGNORECASE) else f"ws://{url}")
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme is None or not parts.hostname:
        raise ValueError(f"A server's address starts with ws, wss, http or https and names a host, got {url}.")
    path = parts.path.rstrip("/")
    return urlunsplit((scheme, parts.netloc, path if path.endswith("/stream") else f"{path}/stream", parts.query, ""))
